"""Where the regions and the cells of a pyramid stand."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

Strides = Sequence[float | int]
"""Pixels of the canvas per cell of each level of a pyramid; not always whole numbers."""


def levels_of(boxes: Float[Tensor, "*N 4"], strides: Strides) -> Int[Tensor, "*N"]:
    """The index of the pyramid level for each box: a box of 224 pixels is read at stride 16 (FPN, equation 1).

    The strides of several levels double from one to the next and are powers of two; a single one may be any number.
    A box that is not finite still gets a level, so that no index made from it points outside of the table.
    """
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    octave = torch.floor(4 + torch.log2(torch.sqrt(sides[..., 0] * sides[..., 1]) / 224) + 1e-6)
    first, last = math.floor(math.log2(strides[0])), math.floor(math.log2(strides[-1]))
    return (octave.nan_to_num(first).clamp(first, last) - first).to(torch.int64)


def shapes_of(pyramid: Sequence[Float[Tensor, "B C _ _"]]) -> list[tuple[int, int]]:
    """Height and width of each level, in cells."""
    return [(level.shape[2], level.shape[3]) for level in pyramid]


def table_of(pyramid: Sequence[Float[Tensor, "B C _ _"]]) -> Float[Tensor, "B cells C"]:
    """The features of all levels as one table, a row a cell, level after level, row after row."""
    return torch.cat([level.permute(0, 2, 3, 1).flatten(1, 2) for level in pyramid], dim=1)


def maps_of(table: Float[Tensor, "rows C"], shapes: Sequence[tuple[int, int]]) -> list[Float[Tensor, "B C _ _"]]:
    """The levels of a pyramid whose table, all pictures below each other, this is: the inverse of `table_of`."""
    cells = [height * width for height, width in shapes]
    parts = table.view(-1, sum(cells), table.shape[1]).split(cells, dim=1)
    return [part.unflatten(1, shape).permute(0, 3, 1, 2) for part, shape in zip(parts, shapes, strict=True)]


def first_rows(
    shapes: Sequence[tuple[int, int]], levels: Int[Tensor, "B P"]
) -> tuple[Int[Tensor, "B P"], Int[Tensor, "B P"]]:
    """The row of the first cell of each region's map, in `table_of` with the pictures below each other; and the cells
    in a row of that map."""
    _, width, first, _ = level_geometry(shapes, [1] * len(shapes), levels)
    cells = sum(height * width for height, width in shapes)
    return first + cells * torch.arange(len(levels), device=levels.device)[:, None], width


def level_geometry(
    shapes: Sequence[tuple[int, int]],
    strides: Strides,
    level: Int[Tensor, "*N"],
    dtype: torch.dtype = torch.float32,
) -> tuple[Int[Tensor, "*N"], Int[Tensor, "*N"], Int[Tensor, "*N"], Float[Tensor, "*N"]]:
    """Height, width, first table row and stride (of `dtype`) of each region's level, of constants: no device copy."""
    h, w, first = (torch.zeros_like(level) for _ in range(3))
    stride = torch.zeros_like(level, dtype=dtype)
    row = 0
    for number, ((height, width), step) in enumerate(zip(shapes, strides, strict=True)):
        here = level == number
        h, w = torch.where(here, height, h), torch.where(here, width, w)
        first, stride = torch.where(here, row, first), torch.where(here, float(step), stride)
        row += height * width
    return h, w, first, stride


def refuse_outside(pyramid: Sequence[Float[Tensor, "B C _ _"]], levels: Int[Tensor, "B P"], *rows: Tensor) -> None:
    """Raise ValueError where the CPU's kernels, which check no index, would leave the pyramid.

    `rows` are what else there is of each region. A program in a file may ask for anything.
    """
    batch = {(level.shape[0], level.shape[1]) for level in pyramid}
    empty = any(height * width == 0 for height, width in shapes_of(pyramid))
    if len(batch) > 1 or pyramid[0].shape[0] != len(levels) or empty:
        raise ValueError("a pyramid's levels need cells, and as many pictures and channels as each other")
    if any(row.shape[:2] != levels.shape for row in rows):
        raise ValueError("boxes or bins are not those of the regions whose levels are given")
    if levels.numel() and not 0 <= int(levels.min()) <= int(levels.max()) < len(pyramid):
        raise ValueError("a region's level is not in the pyramid")
