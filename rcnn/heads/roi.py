"""Regions read from the shared features: what Fast and Faster R-CNN have instead of crops of the picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from rcnn.ops import roi_align


@dataclass(frozen=True)
class RoIAlignPool:
    """RoIAlign over the levels of `strides`; further, coarser levels are the RPN's alone and are not read."""

    strides: tuple[int, ...]
    size: int = 7
    sampling: int = 2
    aligned: bool = False

    def __call__(self, features: Sequence[Tensor], boxes: Float[Tensor, "B P 4"]) -> Float[Tensor, "B*P C size size"]:
        """The features of each box; boxes in pixels of the canvas."""
        levels = features[: len(self.strides)]
        return roi_align(levels, boxes, self.strides, self.size, self.sampling, self.aligned)
