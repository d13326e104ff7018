"""From a name to a detector."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor

from rcnn import build
from rcnn.compat.detectron2 import load_detectron2
from rcnn.compat.torchvision import load_torchvision
from rcnn.config import Config
from rcnn.errors import ConfigError, WeightsError, first_line
from rcnn.inference.exported import ExportedDetector, load_exported
from rcnn.inference.predictor import Detector
from rcnn.methods import FasterRCNN, Method
from rcnn.model_files import is_exported
from rcnn.presets.sources import Which, config_of, file_of, refuse_exported, which_of
from rcnn.runs.tensors import read_tensors
from rcnn.training.checkpoint import model_tensors
from rcnn.training.session import choose_device, computes_bf16

Precision = Literal["auto", "fp32", "bf16"]


class _Thresholds(BaseModel):
    by_class: dict[str, float | None]


class _Facts(BaseModel):
    """What a run's file must say, and may, beside its settings."""

    class_names: list[str] = Field(min_length=1)
    category_ids: dict[str, int] | None = None
    thresholds: _Thresholds | None = None
    stage: int | None = None


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
    """A detector from the folder of a run, one of its files, a file that `rcnn export` wrote, `torchvision:NAME` or
    `detectron2:NAME` (with its `weights` in a file).

    `compile` has torch.compile make machine code of its dense layers, once for each canvas and number of pictures:
    that takes up to minutes, and is worth it for many pictures. Raises ConfigError for a model that lays each picture
    on a canvas of its own (`input.bucket`). Frozen norms are multiplied into the weights: to change a network and
    store it, read it by `rcnn.api.loading.as_trained`.
    """
    if is_exported(source):
        return _exported(source, device, which, precision, compile)
    where = choose_device(device)
    detector = as_trained(source, where, which, weights, uses_bf16(precision, where))
    if compile:
        if detector.preprocess.bucket != "coarse":
            raise ConfigError(f"--compile: {build.MANY_CANVASES}")
        detector.compile()
    return detector.settled()


def _exported(source: Path | str, device: str, which: Which, precision: Precision, compile: bool) -> ExportedDetector:
    """A detector on an exported file; raises ConfigError for what only a run can do."""
    if compile:
        raise ConfigError(f"--compile: {source} is compiled by its engine; leave it out")
    if which != "best":
        raise ConfigError(f"--weights {which}: {source} holds one set of weights; leave it out, or give the run")
    if device not in ("auto", "cpu"):
        raise ConfigError(f"--device {device}: {source} computes on the processor; leave it out, or give the run")
    return load_exported(source, "bf16" if precision == "bf16" else None)


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
    refuse_exported(source)
    if weights is not None:
        raise ConfigError(f"weights={weights}: {source} is a run, which has its own; leave them out (--weights FILE)")
    path = file_of(source, which)
    tensors, metadata = read_tensors(path)
    config, facts = config_of(metadata, path), _facts(metadata, path)
    weights_here = model_tensors(tensors) or tensors
    model = _network(config, len(facts.class_names), weights_here, path)
    _refuse_without_svms(model, config, metadata, path)
    model.load_state_dict(weights_here)
    preprocess, max_pixels = build.preprocess(config.input), config.input.max_pixels
    about = (preprocess, facts.class_names, where, bf16, max_pixels, facts.category_ids, build.proposer(config))
    return Detector(model, *about, thresholds=facts.thresholds.by_class if facts.thresholds else None)


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
    if isinstance(detector, ExportedDetector):
        raise ConfigError(f"--max-proposals: {detector.path} looks at as many as it was exported with; give the run")
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


def _facts(metadata: Mapping[str, Any], path: Path) -> _Facts:
    """What a run's file says beside its settings; raises WeightsError where that is not whole."""
    try:
        return _Facts.model_validate(metadata)
    except ValidationError as error:
        wrong = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise WeightsError(f"{path}: its {wrong} is missing or malformed; train again or pass another run") from error


def _network(config: Config, classes: int, tensors: Mapping[str, Tensor], path: Path) -> Method:
    """The network of a run's settings, with random weights; raises WeightsError where its tensors are others.

    That is found on a network without memory first: settings in a file may ask for any amount of it.
    """
    try:
        with torch.device("meta"):
            wanted = build.detector(config, classes)[0].state_dict()
    except Exception as error:
        raise WeightsError(f"{path}: its settings make no network ({first_line(error)}); pass another run") from error
    names = wanted.keys() | tensors.keys()
    same = {name for name in wanted.keys() & tensors.keys() if wanted[name].shape == tensors[name].shape}
    if wrong := sorted(names - same):
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise WeightsError(
            f"{path}: its tensors are not those of its settings ({wrong[0]}{more} differ); pass another run"
        )
    return build.detector(config, classes)[0]
