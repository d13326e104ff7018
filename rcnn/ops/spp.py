"""Spatial pyramid pooling: any region becomes one vector of fixed length (SPPnet)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rcnn.ops.bin_max import bin_max, grid_of
from rcnn.ops.levels import Strides, level_geometry, shapes_of


def spp(
    pyramid: Sequence[Float[Tensor, "B C _ _"]],
    boxes: Float[Tensor, "B P 4"],
    levels: Int[Tensor, "B P"],
    strides: Strides,
    bins: Sequence[int] = (1, 2, 3, 6),
) -> Float[Tensor, "B*P C cells"]:
    """The largest value of each box in each bin of grids of n x n bins, n from `bins`: grid after grid, row by row.

    Boxes are in pixels of the canvas, `strides` are its pixels per cell of each level, and `levels` says which level
    of the pyramid each box is read from. SPPnet counts pixels and cells from 1: a box whose first pixel is l and whose
    last is r has the cells floor(l / stride) + 1 to ceil(r / stride) - 1. For our edges x1 = l - 1 and x2 = r, and
    cells counted from 0, these are floor((x1 + 1) / stride) up to, but without, ceil(x2 / stride) - 1. They are then
    clipped to the map; where none are left, the region is one cell, the first or the map's nearest to it. Of w cells,
    bin i of n, from 0, spans those from floor(i w / n) to, without, ceil((i + 1) w / n); so no bin is empty.
    A coordinate that is not a number counts as 0.

    The gradient of a bin goes to its winner, the first cell in reading order that holds the maximum; boxes have no
    gradient. Source: SPPnet, sections 3.1 and 4.1 and appendix A.
    """
    return bin_max(pyramid, levels, spp_bins(shapes_of(pyramid), boxes.detach(), levels, strides, bins))


def spp_bins(
    shapes: Sequence[tuple[int, int]],
    boxes: Float[Tensor, "B P 4"],
    levels: Int[Tensor, "B P"],
    strides: Strides,
    bins: Sequence[int],
) -> Int[Tensor, "B P cells 4"]:
    """The bins of each box: top, bottom, left and right cell, bottom and right exclusive."""
    height, width, _, stride = level_geometry(shapes, strides, levels, boxes.dtype)
    x1, y1, x2, y2 = boxes.nan_to_num(0.0).unbind(-1)
    top, tall = _cells(y1, y2, stride, height)
    left, wide = _cells(x1, x2, stride, width)
    return torch.cat([grid_of(_bounds(top, tall, n), _bounds(left, wide, n)) for n in bins], dim=2)


def _cells(
    low: Float[Tensor, "B P"], high: Float[Tensor, "B P"], stride: Float[Tensor, "B P"], extent: Int[Tensor, "B P"]
) -> tuple[Int[Tensor, "B P"], Int[Tensor, "B P"]]:
    """Along one axis: the first cell of each region and how many there are, at least one, all of them on the map."""
    most = extent.to(low.dtype)
    first = torch.minimum(((low + 1) / stride).floor().clamp(min=0), most - 1)
    end = torch.minimum((high / stride).ceil() - 1, most)
    return first.to(torch.int64), (end - first).clamp(min=1).to(torch.int64)


def _bounds(first: Int[Tensor, "B P"], count: Int[Tensor, "B P"], n: int) -> Int[Tensor, "B P n 2"]:
    """Along one axis: where each of `n` bins begins and ends."""
    places, count = torch.arange(n, device=first.device), count[..., None]
    begin, end = places * count // n, -(-(places + 1) * count // n)
    return torch.stack((begin, end), dim=-1) + first[..., None, None]
