"""Beginning from a network that was trained before: its weights, and its head rows of classes of the same name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from rcnn.api.loading import as_trained
from rcnn.compat import detectron2, torchvision
from rcnn.config import Config
from rcnn.errors import ConfigError
from rcnn.methods import Method
from rcnn.presets.overrides import flat
from rcnn.presets.sources import config_of, refuse_exported
from rcnn.runs import RunFolder, read_metadata

_OTHERS = {"torchvision": torchvision.config_named, "detectron2": detectron2.config_named}
"""Libraries whose detectors a run can begin from."""
_ROWS = {
    "head.cls_score.weight": (1, 1),
    "head.cls_score.bias": (1, 1),
    "head.bbox_pred.weight": (4, 1),
    "head.bbox_pred.bias": (4, 1),
    "head.box_mean": (1, 1),
    "head.box_std": (1, 1),
    "head.svm.weight": (1, 0),
    "head.svm.bias": (1, 0),
    "head.ridge.weight": (4, 0),
    "head.ridge.bias": (4, 0),
}
"""What of a head belongs to classes: rows a class, and whether the background has some too, before all others."""


@dataclass(frozen=True)
class Kept:
    """What became of a class: its head rows were kept, are new, or were dropped; `before` is its name there."""

    name: str
    fate: Literal["kept", "new", "dropped"]
    before: str = ""


@dataclass(frozen=True)
class Source:
    """A network that training begins from."""

    name: str
    config: Config
    class_names: tuple[str, ...]
    tensors: Mapping[str, Tensor]


def source_config(start_from: Path | str) -> Config:
    """The settings of a run, one of its files, `torchvision:NAME` or `detectron2:NAME`."""
    library, _, name = str(start_from).partition(":")
    if library in _OTHERS:
        return _OTHERS[library](name)
    refuse_exported(start_from)
    path = Path(start_from)
    path = RunFolder(path).best if path.is_dir() else path
    return config_of(read_metadata(path), path)


def begun_from(config: Config | None, start_from: Path | str, weights: Path | str | None) -> Config:
    """The settings of a run that begins from another: its own, or those given, which decide no `auto` otherwise.

    Raises ConfigError where a backbone's weights are to be loaded too.
    """
    if weights not in (None, "none"):
        raise ConfigError(f"--backbone-weights {weights}: --from brings all weights; give one of the two")
    there = source_config(start_from)
    if config is None or config.model.norm != "auto":
        return config or there
    return config.model_copy(update={"model": config.model.model_copy(update={"norm": there.model.norm})})


def read_source(start_from: Path | str, weights: Path | str | None = None) -> Source:
    """The network of a run, of one of its files or of another library, with the parameters that it was trained with.

    `weights`: the file of another library's.
    """
    detector = as_trained(start_from, torch.device("cpu"), weights=weights)
    return Source(str(start_from), source_config(start_from), detector.class_names, detector.model.state_dict())


def match_classes(now: Sequence[str], before: Sequence[str]) -> list[Kept]:
    """For each class, in the new order, whether it was known, to the letter or else but for case; then the dropped."""
    left = list(before)
    found: dict[str, str] = {}
    for same in (str, str.casefold):
        for name in now:
            match = next((old for old in left if same(old) == same(name)), None) if name not in found else None
            if match is not None:
                found[name] = match
                left.remove(match)
    rows = [Kept(name, "kept", found[name]) if name in found else Kept(name, "new") for name in now]
    return rows + [Kept(name, "dropped") for name in left]


def transfer(model: Method, config: Config, class_names: Sequence[str], source: Source) -> list[Kept]:
    """Fill a new network from one that was trained; rows of classes that were not known stay as they are.

    Raises ConfigError, with the setting that makes the difference, for a network of another form.
    """
    own = model.state_dict()
    rows = match_classes(class_names, source.class_names)
    pairs = [
        (place, source.class_names.index(row.before))
        for place, row in enumerate(rows[: len(class_names)])
        if row.fate == "kept"
    ]
    for name, tensor in own.items():
        old = source.tensors.get(name)
        if old is None or tensor.shape[1:] != old.shape[1:] or (name not in _ROWS and tensor.shape != old.shape):
            raise ConfigError(_difference(config, source, name))
        if name in _ROWS:
            _copy_rows(tensor, old, pairs, *_ROWS[name])
        else:
            tensor.copy_(old)
    return rows


def _copy_rows(new: Tensor, old: Tensor, pairs: Sequence[tuple[int, int]], each: int, background: int) -> None:
    for ours, theirs in [(-1, -1)] * background + list(pairs):
        here, there = ((place + background) * each for place in (ours, theirs))
        new[here : here + each] = old[there : there + each]


def _difference(config: Config, source: Source, tensor: str) -> str:
    """What to tell of two networks that differ in a tensor: the first of their settings that do, if one does."""
    ours, theirs = (_shaping(settings) for settings in (config, source.config))
    differing = [key for key in ours if ours[key] != theirs[key]]
    if not differing:
        return f"--from {source.name}: its network has another {tensor}; begin from a run of this version"
    key = differing[0]
    return (
        f"--from {source.name}: {key} is {ours[key]} here and {theirs[key]} there, and its weights do not fit "
        f"({tensor}); leave {key} as it is there"
    )


def _shaping(config: Config) -> dict[str, Any]:
    """The settings that shape a network, those that do most first."""
    settings = flat(config.model_dump(mode="json"))
    return {key: settings[key] for key in _SHAPING}


_SHAPING = (
    *("model.method", "model.backbone", "input.channels", "model.neck", "model.norm", "model.neck_norm"),
    *("model.channels", "model.rpn.anchor_sizes", "model.rpn.anchor_ratios", "model.rpn.depth", "model.rpn.width"),
    *("model.head.pool", "model.head.bins", "model.head.convs", "model.head.average", "model.head.widths"),
    *("model.head.ranks", "model.head.classifier", "model.head.ridge", "model.head.measured_boxes"),
)
