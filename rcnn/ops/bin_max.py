"""The maximum of rectangles of cells, and where it stood: what RoI pooling and spatial pyramid pooling share.

A bin is a rectangle of cells of one level, (top, bottom, left, right) with bottom and right exclusive, within the map.
The winner of a bin and channel is the cell that holds the maximum, the first in reading order, as its row in `table_of`
with the pictures below each other; -1 for a bin without a cell, whose maximum is 0.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rcnn.ops.bin_max_numba import bin_max_numba, scatter_numba
from rcnn.ops.bin_max_windows import bin_max_windows
from rcnn.ops.levels import maps_of, shapes_of


def grid_of(down: Int[Tensor, "B P n 2"], across: Int[Tensor, "B P n 2"]) -> Int[Tensor, "B P n*n 4"]:
    """The bins of a grid, row by row, from where its rows and its columns begin and end."""
    shape = (*down.shape[:2], down.shape[2], down.shape[2], 2)
    return torch.cat((down[:, :, :, None].expand(shape), across[:, :, None].expand(shape)), dim=-1).flatten(2, 3)


def bin_max(
    pyramid: Sequence[Float[Tensor, "B C _ _"]], levels: Int[Tensor, "B P"], bins: Int[Tensor, "B P K 4"]
) -> Float[Tensor, "B*P C K"]:
    """The maximum of each bin in each channel, exact in any type, laid out channels last.

    The gradient of a maximum goes to its winner. What a bin with a NaN gives is not told.
    """
    return torch.ops.rcnn.bin_max(list(pyramid), levels, bins)[0]


@torch.library.custom_op("rcnn::bin_max", mutates_args=())
def _bin_max(pyramid: Sequence[Tensor], levels: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
    """The maxima [B*P, C, K], and their winners [B*P, K, C]."""
    kernel = bin_max_numba if bins.device.type == "cpu" else bin_max_windows
    pooled, winners = kernel(pyramid, levels, bins)
    return pooled.transpose(1, 2), winners


@_bin_max.register_fake
def _(pyramid: Sequence[Tensor], levels: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
    shape = (levels.shape[0] * levels.shape[1], bins.shape[2], pyramid[0].shape[1])
    return pyramid[0].new_empty(shape).transpose(1, 2), pyramid[0].new_empty(shape, dtype=torch.int32)


def _save_winners(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """Keep what the gradient of a maximum needs: only where it stood."""
    ctx.pictures, ctx.shapes = inputs[0][0].shape[0], shapes_of(inputs[0])
    ctx.save_for_backward(output[1])


def _gradient(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Any, ...]:
    """The gradient of the pyramid; regions, rounded to cells, have none."""
    (winners,) = ctx.saved_tensors
    rows = ctx.pictures * sum(height * width for height, width in ctx.shapes)
    return maps_of(torch.ops.rcnn.bin_max_backward(grad, winners, rows), ctx.shapes), None, None


_bin_max.register_autograd(_gradient, setup_context=_save_winners)


@torch.library.custom_op("rcnn::bin_max_backward", mutates_args=())
def _bin_max_backward(grad: Tensor, winners: Tensor, rows: int) -> Tensor:
    """Each bin's gradient goes to its winner: `grad` [B*P, C, K] summed over bins into a table of `rows` rows."""
    values = grad.transpose(1, 2).to(torch.promote_types(grad.dtype, torch.float32))  # where it lies, as it lies
    scatter = scatter_numba if grad.device.type == "cpu" else scatter_add
    return scatter(values, winners, rows).to(grad.dtype)


@_bin_max_backward.register_fake
def _(grad: Tensor, winners: Tensor, rows: int) -> Tensor:
    return grad.new_empty(rows, winners.shape[2])


def scatter_add(values: Float[Tensor, "R K C"], winners: Int[Tensor, "R K C"], rows: int) -> Float[Tensor, "rows C"]:
    """Each value added to the row that its winner names, on any device; what has no winner goes nowhere."""
    table = values.new_zeros(rows + 1, values.shape[2])  # the last row takes those without a winner
    places = torch.where(winners < 0, rows, winners).to(torch.int64)
    return table.scatter_add_(0, places.flatten(0, 1), values.flatten(0, 1))[:rows]
