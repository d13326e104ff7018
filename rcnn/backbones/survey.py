"""Where a network's maps stand: found by looking at what comes out of each of its layers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rcnn.backbones.trunk import Trunk

CANVAS = (64, 96)
"""Height and width of the picture that is sent through: the least on which no two strides look alike."""
FINEST = 4
"""Maps of a smaller stride are not read: they cost more than they tell."""


@dataclass(frozen=True)
class Place:
    """The map after a layer: its channels, its stride in pixels, and whether its channels stand last."""

    layer: str
    channels: int
    stride: int
    channels_last: bool


def survey(layers: Mapping[str, nn.Module]) -> list[Place]:
    """The map after each of some layers in sequence, as a small picture goes through them.

    A stride is the power of two nearest to canvas over map: networks that pad less than they cut lose a cell.
    """
    weight, places = next(weight for layer in layers.values() for weight in layer.parameters()), []
    x = torch.zeros(1, 3, *CANVAS, device=weight.device, dtype=weight.dtype)
    for name, layer in layers.items():
        x = passed_through(layer, x)
        places.append(_place(name, tuple(x.shape)))
    return places


@torch.no_grad()
def passed_through(layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer makes of a tensor; it is left as it was."""
    was = layer.training
    try:
        return layer.eval()(x)
    finally:
        layer.train(was)


def trunk_of(layers: Mapping[str, nn.Module]) -> Trunk:
    """Layers in sequence as a trunk: read just before each reduction, from a stride of 4 on.

    A reduction at the end, without anything that learns after it, is left out: reading regions takes its place.
    """
    places = survey(layers)
    while places[-1].stride != places[-2].stride and not any(True for _ in layers[places[-1].layer].parameters()):
        places.pop()
    taps = list({place.stride: place for place in places if place.stride >= FINEST}.values())  # the last of each
    return Trunk(
        {place.layer: layers[place.layer] for place in places},
        [place.layer for place in taps],
        [place.channels for place in taps],
        [place.stride for place in taps],
        channels_last=taps[-1].channels_last,
    )


def _place(layer: str, shape: tuple[int, ...]) -> Place:
    _, one, two, three = shape
    channels_last = not _like_canvas(two, three) and _like_canvas(one, two)
    channels, height = (three, one) if channels_last else (one, two)
    return Place(layer, channels, 2 ** round(math.log2(CANVAS[0] / height)), channels_last)


def _like_canvas(height: int, width: int) -> bool:
    """Whether a map has the canvas's aspect."""
    return abs(height / width - CANVAS[0] / CANVAS[1]) < 0.01
