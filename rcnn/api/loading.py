"""From a name to a detector."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from rcnn import build
from rcnn.compat.detectron2 import load_detectron2
from rcnn.compat.torchvision import load_torchvision
from rcnn.config import Config
from rcnn.errors import ConfigError, WeightsError
from rcnn.inference.predictor import Detector
from rcnn.methods import FasterRCNN, Method
from rcnn.presets.sources import Which, config_of, file_of, which_of
from rcnn.runs.tensors import read_tensors
from rcnn.training.checkpoint import model_tensors
from rcnn.training.session import choose_device, computes_bf16

Precision = Literal["auto", "fp32", "bf16"]

_LOADERS: Mapping[str, Callable[[str, Path | str | None, torch.device, bool], Detector]] = {
    "torchvision": load_torchvision,
    "detectron2": load_detectron2,
}
"""By the word before the colon in LIBRARY:NAME."""


def load(
    source: Path | str,
    device: str = "auto",
    *,
    which: Which = "best",
    weights: Path | str | None = None,
    precision: Precision = "fp32",
    compile: bool = False,
) -> Detector:
    """A detector from the folder of a run, one of its files, `torchvision:NAME` or `detectron2:NAME` (with its
    `weights` in a file).

    `compile` has torch.compile make machine code of its dense layers, once for each canvas and number of pictures:
    that takes up to minutes, and is worth it for many pictures. Raises ConfigError for a model that lays each picture
    on a canvas of its own (`input.bucket`). Frozen norms are multiplied into the weights: to change a network and
    store it, read it by `rcnn.api.loading.as_trained`.
    """
    where = choose_device(device)
    detector = as_trained(source, where, which, weights, uses_bf16(precision, where))
    if compile:
        if detector.preprocess.bucket != "coarse":
            raise ConfigError(f"--compile: {build.MANY_CANVASES}")
        detector.compile()
    return detector.settled()


def as_trained(
    source: Path | str,
    where: torch.device,
    which: Which = "best",
    weights: Path | str | None = None,
    bf16: bool = False,
) -> Detector:
    """The same with the parameters that it was trained with, under their names."""
    library, _, name = str(source).partition(":")
    if library in _LOADERS:
        return _LOADERS[library](name, weights, where, bf16)
    path = file_of(source, which)
    tensors, metadata = read_tensors(path)
    config = config_of(metadata, path)
    model, _ = build.detector(config, len(metadata["class_names"]))
    _refuse_without_svms(model, config, metadata, path)
    model.load_state_dict(model_tensors(tensors) or tensors)
    preprocess, category_ids = build.preprocess(config.input), metadata.get("category_ids")
    class_names, max_pixels = metadata["class_names"], config.input.max_pixels
    about = (preprocess, class_names, where, bf16, max_pixels, category_ids, build.proposer(config))
    return Detector(model, *about, thresholds=metadata.get("thresholds", {}).get("by_class"))


def load_named(
    run: str, weights: str, device: str, precision: Precision, max_proposals: int | None = None, compile: bool = False
) -> Detector:
    """A detector as command lines name it: `weights` is `best` or `last`, or the file of a LIBRARY:NAME.

    It looks at the best `max_proposals` regions of a picture; without, at as many as it was trained to.
    """
    options: dict[str, Any] = {"precision": precision, "compile": compile}
    if which := which_of(run, weights):
        options["which"] = which
    else:
        options["weights"] = None if weights in ("best", "last") else weights
    detector = load(run, device, **options)
    if max_proposals is not None:
        limit_proposals(detector, max_proposals)
    return detector


def limit_proposals(detector: Detector, most: int) -> None:
    """Let a detector look at the best `most` regions of a picture: more or fewer than it was trained to.

    Raises ConfigError for an RPN that is asked for more than it lets into suppression.
    """
    if detector.proposer is not None:
        detector.proposer = replace(detector.proposer, most=most)
        return
    model = detector.model
    assert isinstance(model, FasterRCNN)
    entering = model.limits.before * model.rpn.anchors.levels
    if most > entering:
        raise ConfigError(f"--max-proposals {most}: only {entering} enter suppression; give at most so many")
    detector.look_with(model.limited(replace(model.limits, after=most)))


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether to compute in bf16."""
    return precision == "bf16" or (precision == "auto" and computes_bf16(device))


def _refuse_without_svms(model: Method, config: Config, metadata: Mapping[str, Any], path: Path) -> None:
    """Raise WeightsError for the state of a run whose SVMs are still random; the best weights tell no stage."""
    stages = len(build.stages(model, config)) if config.model.head.classifier == "svm" else 0
    if (reached := metadata.get("stage", stages)) < stages:
        raise WeightsError(
            f"{path}: {reached} of {stages} stages are done, and nothing is found before the last; "
            "go on with rcnn train --resume"
        )
