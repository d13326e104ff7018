"""RoI pooling as Fast R-CNN defines it: corners rounded to cells, the maximum of each bin."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rcnn.ops.bin_max import bin_max, grid_of
from rcnn.ops.levels import Strides, level_geometry, shapes_of

FAR = 2.0**22
"""Farther away than any cell, and still a whole number whose successors single precision tells apart."""


def roi_pool(
    pyramid: Sequence[Float[Tensor, "B C _ _"]],
    boxes: Float[Tensor, "B P 4"],
    levels: Int[Tensor, "B P"],
    strides: Strides,
    size: int = 7,
) -> Float[Tensor, "B*P C size size"]:
    """The largest value of each box in each bin of a `size` x `size` grid, in each channel.

    Boxes are in pixels of the canvas, `strides` are its pixels per cell of each level, and `levels` says which level
    of the pyramid each box is read from. Both corners, divided by the stride, are rounded to the nearest cell (halves
    away from zero) and belong to the region, which has at least one cell. Bins that do not divide it evenly overlap;
    their bounds are computed in floating point, as Caffe and torchvision do. What lies outside of the map has no
    cells; a bin without a cell is 0. A box with a coordinate that is not a number has none.

    The gradient of a bin goes to its winner, the first cell in reading order that holds the maximum; boxes have no
    gradient. The result is laid out channels last. Source: Fast R-CNN, sections 2.1 and 2.3.
    """
    dtype = torch.promote_types(pyramid[0].dtype, torch.float32)
    bins = roi_pool_bins(shapes_of(pyramid), boxes.detach().to(dtype), levels, strides, size)
    return bin_max(pyramid, levels, bins).unflatten(2, (size, size))


def roi_pool_bins(
    shapes: Sequence[tuple[int, int]],
    boxes: Float[Tensor, "B P 4"],
    levels: Int[Tensor, "B P"],
    strides: Strides,
    size: int,
) -> Int[Tensor, "B P bins 4"]:
    """The bins of each box, row by row: top, bottom, left and right cell, bottom and right exclusive."""
    height, width, _, stride = level_geometry(shapes, strides, levels, boxes.dtype)
    lost = boxes.isnan().any(dim=-1, keepdim=True)
    corners = torch.where(lost, -FAR, boxes / stride[..., None]).clamp(-FAR, FAR)
    far, rest = corners.abs().floor(), corners.abs().frac()  # adding a half and rounding down would err just below it
    left, top, right, bottom = ((far + (rest >= 0.5)) * corners.sign()).unbind(-1)
    return grid_of(_bounds(top, bottom, height, size), _bounds(left, right, width, size))


def _bounds(
    low: Float[Tensor, "B P"], high: Float[Tensor, "B P"], extent: Int[Tensor, "B P"], size: int
) -> Int[Tensor, "B P size 2"]:
    """Along one axis: where each bin begins and ends."""
    places = torch.arange(size + 1, device=low.device, dtype=low.dtype)
    length = (high - low + 1).clamp(min=1)
    step = (length / torch.full_like(length, size))[..., None]  # by a number, a GPU would multiply by its inverse
    begin, end = (places[:-1] * step).floor(), (places[1:] * step).ceil()
    bounds = torch.stack((begin, end), dim=-1) + low[..., None, None]
    return torch.minimum(bounds.clamp(min=0).to(torch.int64), extent[..., None, None])
