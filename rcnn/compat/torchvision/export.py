"""From this library's network to the state dict of a torchvision model, and the arguments that build it alike."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rcnn.backbones.norm import FoldedConv2d
from rcnn.compat.torchvision.models import ARGUMENTS
from rcnn.compat.torchvision.weights import CONFIGS
from rcnn.config import Config
from rcnn.errors import ConfigError

_SHAPE = {
    "": ("method", "backbone", "neck", "channels"),
    "head": ("pooling", "pool", "sampling", "aligned", "convs", "average", "widths", "ranks", "classifier"),
    "rpn": ("depth", "width", "anchor_grid"),
}
"""The settings of a model, by section, that decide which tensors it has and what they mean."""
EPSILON = 1e-5
"""What torchvision's norms add to variances."""


def model_name(config: Config) -> str:
    """Torchvision's name for a network of these settings; raises ConfigError where it has none."""
    differing = {name: _differences(config, known) for name, known in CONFIGS.items()}
    name, settings = min(differing.items(), key=lambda item: len(item[1]))
    if settings:
        raise ConfigError(
            f"model.{settings[0]}: torchvision has no such detector; the nearest, {name}, differs in {len(settings)} "
            "settings; train with those of faster-rcnn-r50-fpn"
        )
    if config.model.norm not in ("frozen", "batch"):
        raise ConfigError(f"model.norm: {config.model.norm}, but torchvision's has batch norm; train with norm=frozen")
    return name


def _differences(config: Config, known: Config) -> list[str]:
    names = [f"{section}.{key}" if section else key for section, keys in _SHAPE.items() for key in keys]
    pairs = ((name, _setting(config, name), _setting(known, name)) for name in names)
    norms = [config.model.neck_norm == "none", known.model.neck_norm == "none"]
    return [name for name, own, other in pairs if own != other] + (["neck_norm"] if norms[0] != norms[1] else [])


def _setting(config: Config, name: str) -> Any:
    value: Any = config.model
    for part in name.split("."):
        value = getattr(value, part)
    return value


def arguments(config: Config, classes: int) -> dict[str, Any]:
    """What torchvision's function takes to detect alike; anchors are told as sizes and ratios by level."""
    given: dict[str, Any] = {"weights": None, "weights_backbone": None, "num_classes": classes + 1}
    given["min_size"] = config.input.short
    for argument, name in ARGUMENTS.items():
        value: Any = config
        for part in name.split("."):
            value = getattr(value, part)
        given[argument] = list(value) if isinstance(value, tuple) else value
    return given


def anchors(config: Config) -> tuple[tuple[tuple[float, ...], ...], tuple[tuple[float, ...], ...]]:
    """Sizes and ratios by level, as torchvision's `AnchorGenerator` takes them."""
    sizes = config.model.rpn.anchor_sizes
    return sizes, (config.model.rpn.anchor_ratios,) * len(sizes)


def to_state(model: nn.Module, name: str) -> dict[str, Tensor]:
    """The network's tensors under torchvision's names, frozen norms as norms again."""
    state = {key: value for key, value in model.state_dict().items() if not key.endswith(("scale", "shift"))}
    state |= {f"{norm}.{key}": value for norm, rows in _norms(model).items() for key, value in rows.items()}
    return {_their_name(key, name): _their_order(key, value) for key, value in state.items()}


def _norms(model: nn.Module) -> dict[str, Mapping[str, Tensor]]:
    """The batch norms that were folded into convolutions, by the names at which they stood."""
    found: dict[str, Mapping[str, Tensor]] = {}
    for parent, module in model.named_modules():
        for (_, conv), (norm, _) in pairwise(module.named_children()):
            if isinstance(conv, FoldedConv2d):
                rows = {"weight": conv.scale, "bias": conv.shift, "running_mean": torch.zeros_like(conv.scale)}
                variance = torch.ones_like(conv.scale) - EPSILON
                count = torch.zeros((), dtype=torch.int64)
                found[f"{parent}.{norm}"] = rows | {"running_var": variance, "num_batches_tracked": count}
    return found


def _their_name(key: str, name: str) -> str:
    for own, other in (("head.layers.", "roi_heads.box_head."), ("head.convs.", "roi_heads.box_head.")):
        if key.startswith(own):
            last = key.removeprefix(own)
            return other + (last.replace("fc6.", "5.") if name.endswith("_v2") else last)
    return f"roi_heads.box_predictor.{key.removeprefix('head.')}" if key.startswith("head.") else key


def _their_order(key: str, value: Tensor) -> Tensor:
    """Columns of the first layer as torchvision flattens: channel, row, column."""
    return _by_channel(value, 7) if key == "head.layers.fc6.weight" else value.contiguous()


def _by_channel(weight: Float[Tensor, "N D"], grid: int) -> Float[Tensor, "N D"]:
    return weight.unflatten(1, (grid, grid, -1)).permute(0, 3, 1, 2).flatten(1)
