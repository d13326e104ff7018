"""Spatial pyramid pooling: any region becomes one vector of fixed length (SPPnet, section 2)."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from rcnn.heads.roi import LevelRule
from rcnn.ops import spp
from rcnn.ops.levels import Strides


@dataclass(frozen=True)
class SPPPool:
    """The maximum of each bin of several grids, from one bin for all of the region to `bins[-1]` squared."""

    strides: Strides
    level_of: LevelRule
    bins: tuple[int, ...] = (1, 2, 3, 6)

    def __call__(self, features: Sequence[Tensor], boxes: Float[Tensor, "B P 4"]) -> Float[Tensor, "B*P C cells 1"]:
        """The features of each box in all bins, coarsest grid first; boxes in pixels of the canvas."""
        return spp(features[: len(self.strides)], boxes, self.level_of(boxes), self.strides, self.bins)[..., None]
