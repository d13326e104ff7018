"""The grid of anchors: reference boxes at every cell of every level of a pyramid (Faster R-CNN, section 3.1.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class Anchors:
    """All anchors of a canvas, level after level, row after row, the shapes of one cell side by side."""

    boxes: Float[Tensor, "A 4"]
    origins: Float[Tensor, "A 2"]
    """The x and y on the canvas from which an anchor's cell begins."""
    counts: tuple[int, ...]
    """How many anchors each level has."""

    def inside(self, sizes: Int[Tensor, "B 2"]) -> Bool[Tensor, "B A"]:
        """Which anchors take part in each picture: those of cells on the picture, its sides rounded up to 32.

        Rounding makes a picture's anchors the same on every canvas that it may lie on.
        """
        edge = (((sizes + 31) // 32) * 32).flip(-1)  # [B, 2] as x y
        return (self.origins < edge[:, None]).all(-1)

    def levels(self) -> Int[Tensor, "A"]:
        """The level of each anchor."""
        device = self.boxes.device
        return torch.cat([torch.full((n,), i, device=device) for i, n in enumerate(self.counts)])


class AnchorGrid(nn.Module):
    """Makes the anchors of a canvas.

    `sizes` holds for each level the sides, in pixels, of its square anchors; `ratios` the heights over widths that
    each size is given at equal area. As in torchvision their corners are whole pixels,
    and their steps a canvas divided by its level; with `strides`, a level each, neither is rounded, as in detectron2.
    """

    def __init__(
        self, sizes: Sequence[Sequence[float]], ratios: Sequence[float], strides: Sequence[float] = ()
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.per_cell = len(sizes[0]) * len(ratios)
        self.levels = len(sizes)
        for level, sides in enumerate(sizes):
            self.register_buffer(f"shapes{level}", anchor_shapes(sides, ratios, rounded=not strides), persistent=False)

    def forward(self, shapes: Sequence[tuple[int, int]], canvas: tuple[int, int]) -> Anchors:
        """The anchors of a canvas of height and width `canvas`, whose levels have height and width `shapes`."""
        levels = [self._level(level, shape, canvas) for level, shape in enumerate(shapes)]
        boxes, origins = (torch.cat(parts) for parts in zip(*levels, strict=True))
        return Anchors(boxes, origins, tuple(h * w * self.per_cell for h, w in shapes))

    def _level(self, level: int, shape: tuple[int, int], canvas: tuple[int, int]) -> tuple[Tensor, Tensor]:
        base = self.get_buffer(f"shapes{level}")  # [k, 4]
        # A step is not always the stride: the coarsest level's size is rounded, and torchvision divides likewise.
        steps = [self.strides[level] if self.strides else side // n for n, side in zip(shape, canvas, strict=True)]
        y, x = (torch.arange(n, device=base.device) * step for n, step in zip(shape, steps, strict=True))
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        origins = torch.stack((columns, rows), dim=-1).reshape(-1, 1, 2).to(base.dtype)  # [cells, 1, 2]
        boxes = origins.repeat(1, 1, 2) + base
        return boxes.reshape(-1, 4), origins.expand(-1, len(base), -1).reshape(-1, 2)


def anchor_shapes(sides: Sequence[float], ratios: Sequence[float], rounded: bool = True) -> Float[Tensor, "k 4"]:
    """The anchors of a cell, around its origin, in whole pixels if `rounded`."""
    heights = torch.tensor(ratios).sqrt()
    widths = 1 / heights
    w, h = ((scale[:, None] * torch.tensor(sides, dtype=torch.float32)).flatten() for scale in (widths, heights))
    shapes = torch.stack((-w, -h, w, h), dim=1) / 2
    return shapes.round() if rounded else shapes
