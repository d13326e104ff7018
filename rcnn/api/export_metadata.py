"""What an exported file says of itself; `rcnn.runtime` reads it."""

from typing import Any

from rcnn.api.saving import LoadedModel
from rcnn.export.plan import Plan
from rcnn.runtime import FORMAT_VERSION


def described(loaded: LoadedModel, plan: Plan) -> dict[str, Any]:
    """Class names, thresholds, preprocessing and limits of a detector, and the settings that it was made with."""
    detector = loaded.detector
    postprocess, proposer = detector.model.postprocess, detector.proposer
    return {
        "format_version": FORMAT_VERSION,
        "method": loaded.config.model.method,
        "class_names": list(detector.class_names),
        "category_ids": detector.category_ids,
        "thresholds": detector.thresholds,
        "input": _input(loaded, plan),
        "batch": 1 if plan.kind == "picture" else plan.batch,
        "detections": postprocess.detections,  # type: ignore[union-attr]
        "score": postprocess.score,  # type: ignore[union-attr]
        "proposals": {"mode": proposer.mode, "most": proposer.most} if proposer else None,
        "precision": plan.precision,
        "config": loaded.config.model_dump(mode="json"),
    }


def _input(loaded: LoadedModel, plan: Plan) -> dict[str, Any]:
    """From a picture to the graph's input."""
    seen = loaded.detector.preprocess
    return {
        "kind": plan.kind,
        "short": seen.short,
        "long": seen.long,
        "bucket": seen.bucket,
        "resize": seen.resize,
        "channels": seen.channels,
        "mean": list(seen.mean),
        "std": list(seen.std),
        "range": seen.limits,
        "max_pixels": loaded.detector.max_pixels,
    }
