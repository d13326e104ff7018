"""Regions read from the shared features: what Fast and Faster R-CNN have instead of crops of the picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rcnn.ops import roi_align, roi_pool
from rcnn.ops.levels import Strides

LevelRule = Callable[[Float[Tensor, "B P 4"]], Int[Tensor, "B P"]]
"""From boxes to the level of the features that each is read from."""

REGION_AREA = 224.0**2
"""The area, in pixels, that a region should have where it is read: ImageNet's pictures' (SPPnet, section 4.1)."""


@dataclass(frozen=True)
class RoIAlignPool:
    """RoIAlign over the levels of `strides`; further, coarser levels are the RPN's alone and are not read."""

    strides: Strides
    level_of: LevelRule
    size: int = 7
    sampling: int = 2
    aligned: bool = False

    def __call__(self, features: Sequence[Tensor], boxes: Float[Tensor, "B P 4"]) -> Float[Tensor, "B*P C size size"]:
        """The features of each box; boxes in pixels of the canvas."""
        levels = features[: len(self.strides)]
        return roi_align(levels, boxes, self.level_of(boxes), self.strides, self.size, self.sampling, self.aligned)


@dataclass(frozen=True)
class RoIMaxPool:
    """RoI pooling as Fast R-CNN defines it (section 2.1): corners rounded to cells, the maximum of each bin."""

    strides: Strides
    level_of: LevelRule
    size: int = 7

    def __call__(self, features: Sequence[Tensor], boxes: Float[Tensor, "B P 4"]) -> Float[Tensor, "B*P C size size"]:
        """The features of each box; boxes in pixels of the canvas."""
        return roi_pool(features[: len(self.strides)], boxes, self.level_of(boxes), self.strides, self.size)


def nearest_scale(boxes: Float[Tensor, "B P 4"], factors: Sequence[float]) -> Int[Tensor, "B P"]:
    """Of pictures scaled by `factors`, the one in which each box's area is nearest 224 x 224 (SPPnet, section 4.1)."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    area = sides[..., 0] * sides[..., 1]
    distances = torch.stack([(area * factor**2 - REGION_AREA).abs() for factor in factors], dim=-1)
    return distances.argmin(dim=-1)
