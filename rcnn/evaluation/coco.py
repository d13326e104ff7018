"""Average precision and recall as COCO defines them, computed by hotcoco."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from rcnn.evaluation.result import PerClass
from rcnn.evaluation.scenes import Scene

AREAS = ("all", "small", "medium", "large")
IOU_50, IOU_75 = 0, 5
"""Where these stand among the thresholds 0.50, 0.55 ... 0.95."""

OUTSIDE_EVERY_RANGE = -1.0
"""The area of an object that is to be ignored with ordinary IoU (see the package's docstring)."""

LARGEST_AREA = 1e5**2
"""COCO ignores objects beyond: square pixels."""


def score_coco(
    scenes: Sequence[Scene], class_names: tuple[str, ...], max_detections: int
) -> tuple[dict[str, float], PerClass]:
    """COCO's twelve metrics over all classes, and AP and AP50 of each class."""
    caps = sorted({cap for cap in (1, 10) if cap < max_detections} | {max_detections})
    precision, recall = _precision_and_recall(scenes, class_names, caps)
    metrics = {
        "AP": _mean(precision[..., 0, -1]),
        "AP50": _mean(precision[IOU_50, ..., 0, -1]),
        "AP75": _mean(precision[IOU_75, ..., 0, -1]),
        **{f"AP_{area}": _mean(precision[..., a, -1]) for a, area in enumerate(AREAS) if a},
        **{f"AR{cap}": _mean(recall[..., 0, c]) for c, cap in enumerate(caps)},
        **{f"AR_{area}": _mean(recall[..., a, -1]) for a, area in enumerate(AREAS) if a},
    }
    per_class = {
        name: {"AP": _mean(precision[:, :, k, 0, -1]), "AP50": _mean(precision[IOU_50, :, k, 0, -1])}
        for k, name in enumerate(class_names)
    }
    return metrics, per_class


def _mean(values: Float64[np.ndarray, "..."]) -> float:
    """COCO writes -1 where there is no truth."""
    known = values[values > -1]
    return float(known.mean()) if known.size else float("nan")


def _precision_and_recall(
    scenes: Sequence[Scene], class_names: tuple[str, ...], caps: list[int]
) -> tuple[Float64[np.ndarray, "T R K A M"], Float64[np.ndarray, "T K A M"]]:
    """By IoU threshold T, recall point R, class K, area range A and cap on detections M."""
    evaluator = _evaluator(scenes, class_names, caps)
    evaluator.evaluate()
    evaluator.accumulate()
    result: Any = evaluator.eval
    return result["precision"], result["recall"]


def matched_pictures(
    scenes: Sequence[Scene], class_names: tuple[str, ...], max_detections: int
) -> list[dict[str, Any]]:
    """COCO's matching of each class in each picture, objects of every size: pycocotools' `evalImgs`."""
    evaluator = _evaluator(scenes, class_names, [max_detections])
    evaluator.params.area_rng, evaluator.params.area_rng_lbl = [[0.0, LARGEST_AREA]], ["all"]
    evaluator.evaluate()
    return [each for each in evaluator.eval_imgs if each is not None]


def _evaluator(scenes: Sequence[Scene], class_names: tuple[str, ...], caps: list[int]) -> Any:
    from hotcoco import COCO, COCOeval

    images = [{"id": number} for number in range(1, len(scenes) + 1)]
    categories = [{"id": label, "name": name} for label, name in enumerate(class_names, start=1)]
    truth = COCO.from_arrays(images=images, categories=categories, **_truth(scenes))
    evaluator = COCOeval(truth, truth.load_res(_found(scenes)), "bbox")
    evaluator.params.max_dets = caps
    return evaluator


def _truth(scenes: Sequence[Scene]) -> dict[str, Any]:
    """The columns of the truth, all pictures below each other."""
    areas = [np.where(scene.difficult, OUTSIDE_EVERY_RANGE, scene.area) for scene in scenes]
    return {
        "image_ids": _numbers(scenes, [len(scene.labels) for scene in scenes]),
        "category_ids": _below([scene.labels for scene in scenes]),
        "boxes": _xywh(_below([scene.boxes for scene in scenes]).reshape(-1, 4)),
        "area": _below(areas),
        "iscrowd": _below([scene.crowd for scene in scenes]).astype(np.int64),
    }


def _found(scenes: Sequence[Scene]) -> Float64[np.ndarray, "N 7"]:
    """Picture, box, score and class of each detection."""
    counts = [len(scene.found_labels) for scene in scenes]
    boxes = _xywh(_below([scene.found_boxes for scene in scenes]).reshape(-1, 4))
    columns = (_below([scene.found_scores for scene in scenes]), _below([scene.found_labels for scene in scenes]))
    return np.column_stack((_numbers(scenes, counts), boxes, *columns)).astype(np.float64)


def _numbers(scenes: Sequence[Scene], counts: Sequence[int]) -> np.ndarray:
    """The number of the picture of each row, counted from 1."""
    return np.repeat(np.arange(1, len(scenes) + 1), counts)


def _below(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0)


def _xywh(boxes: Float64[np.ndarray, "N 4"]) -> Float64[np.ndarray, "N 4"]:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
