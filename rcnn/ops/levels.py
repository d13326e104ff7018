"""Where the regions and the cells of a pyramid stand."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor


def levels_of(boxes: Float[Tensor, "*N 4"], strides: Sequence[int]) -> Int[Tensor, "*N"]:
    """The index of the pyramid level for each box: a box of 224 pixels is read at stride 16 (FPN, equation 1).

    A box that is not finite still gets a level, so that no index made from it points outside of the table.
    """
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    octave = torch.floor(4 + torch.log2(torch.sqrt(sides[..., 0] * sides[..., 1]) / 224) + 1e-6)
    first, last = strides[0].bit_length() - 1, strides[-1].bit_length() - 1
    return (octave.nan_to_num(first).clamp(first, last) - first).to(torch.int64)


def shapes_of(pyramid: Sequence[Float[Tensor, "B C _ _"]]) -> list[tuple[int, int]]:
    """Height and width of each level, in cells."""
    return [(level.shape[2], level.shape[3]) for level in pyramid]


def table_of(pyramid: Sequence[Float[Tensor, "B C _ _"]]) -> Float[Tensor, "B cells C"]:
    """The features of all levels as one table, a row a cell, level after level, row after row."""
    return torch.cat([level.permute(0, 2, 3, 1).flatten(1, 2) for level in pyramid], dim=1)


def level_geometry(
    shapes: Sequence[tuple[int, int]], strides: Sequence[int], level: Int[Tensor, "*N"]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Height, width, first table row and stride of each region's level, made of constants without a device copy."""
    h, w, first, stride = (torch.zeros_like(level) for _ in range(4))
    row = 0
    for number, ((height, width), step) in enumerate(zip(shapes, strides, strict=True)):
        here = level == number
        h, w = torch.where(here, height, h), torch.where(here, width, w)
        first, stride = torch.where(here, row, first), torch.where(here, step, stride)
        row += height * width
    return h, w, first, stride
