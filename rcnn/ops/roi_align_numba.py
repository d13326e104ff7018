"""The CPU kernels of `roi_align` and of its gradient, which read each level where it lies: no table of all is made."""

from collections.abc import Sequence
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rcnn.compiled import compiled
from rcnn.threads import together

Taps = tuple[Int[Tensor, "R size taps"], Float[Tensor, "R size taps"]]
"""Along one axis: the cells that each bin of each region reads, and what each counts."""


def roi_align_numba(
    pyramid: Sequence[Float[Tensor, "B C _ _"]],
    picture: Int[Tensor, "R"],
    level: Int[Tensor, "R"],
    down: Taps,
    across: Taps,
) -> Float[Tensor, "R size size C"]:
    """The weighted sums of each region's cells, all of them in the level and the picture that are named."""
    tables = _tables(pyramid)
    regions, size, _ = down[0].shape
    pooled = torch.empty(regions, size, size, pyramid[0].shape[1], dtype=pyramid[0].dtype)
    rest = [tensor.contiguous().numpy() for tensor in (picture, level, *down, *across)]
    kernel, threads = compiled(_sum), torch.get_num_threads()
    together(lambda thread: kernel(tables, *rest, pooled.numpy(), thread, threads), threads)
    return pooled


def roi_align_backward_numba(
    grad: Float[Tensor, "R size size C"],
    rows: int,
    first: Int[Tensor, "R"],
    width: Int[Tensor, "R"],
    down: Taps,
    across: Taps,
) -> Float[Tensor, "rows C"]:
    """The gradient of all levels as the table of `table_of`, all pictures below each other.

    `first` is the row of the first cell of each region's map, `width` the cells in a row of that map.
    """
    channels, threads = grad.shape[3], torch.get_num_threads()
    table = torch.zeros(rows, channels, dtype=grad.dtype)
    arrays = [tensor.contiguous().numpy() for tensor in (table, first, width, *down, *across, grad)]
    kernel, parts = compiled(_spread), [channels * n // threads for n in range(threads + 1)]
    together(lambda thread: kernel(*arrays, *parts[thread : thread + 2]), threads)
    return table


def _tables(pyramid: Sequence[Float[Tensor, "B C _ _"]]) -> tuple[np.ndarray, ...]:
    """The levels with their channels last: as they lie where that is their layout, else copied."""
    return tuple(level.permute(0, 2, 3, 1).contiguous().numpy() for level in pyramid)


@no_type_check  # shape checks at run time wrap every annotated function, and Numba compiles no wrapper
def _sum(
    tables: tuple,  # of [B, H, W, C]
    picture: np.ndarray,  # [R] int64
    level: np.ndarray,  # [R] int64
    ys: np.ndarray,  # [R, size, taps] int64
    y_weights: np.ndarray,  # [R, size, taps]
    xs: np.ndarray,  # [R, size, taps] int64
    x_weights: np.ndarray,  # [R, size, taps]
    pooled: np.ndarray,  # [R, size, size, C], written
    start: int,
    step: int,
) -> None:
    size, taps, channels = ys.shape[1], ys.shape[2], pooled.shape[3]
    for r in range(start, pooled.shape[0], step):
        cells = tables[level[r]][picture[r]]
        for i in range(size):
            for j in range(size):
                sums = pooled[r, i, j]
                sums[:] = 0
                for a in range(taps):
                    row, weight = cells[ys[r, i, a]], y_weights[r, i, a]
                    for b in range(0, taps, 2):  # cells come in pairs: two at once spare half of the sums' traffic
                        left, right = row[xs[r, j, b]], row[xs[r, j, b + 1]]
                        near, far = weight * x_weights[r, j, b], weight * x_weights[r, j, b + 1]
                        for c in range(channels):
                            sums[c] += near * left[c] + far * right[c]


@no_type_check
def _spread(
    table: np.ndarray,  # [rows, C], added to
    first: np.ndarray,  # [R] int64
    width: np.ndarray,  # [R] int64
    ys: np.ndarray,  # [R, size, taps] int64
    y_weights: np.ndarray,  # [R, size, taps]
    xs: np.ndarray,  # [R, size, taps] int64
    x_weights: np.ndarray,  # [R, size, taps]
    grad: np.ndarray,  # [R, size, size, C]
    begin: int,
    end: int,
) -> None:
    size, taps = ys.shape[1], ys.shape[2]
    for r in range(grad.shape[0]):
        for i in range(size):
            for j in range(size):
                values = grad[r, i, j, begin:end]  # sliced, not indexed from `begin` on: so the loop is vectorised
                for a in range(taps):
                    row = first[r] + ys[r, i, a] * width[r]
                    for b in range(taps):
                        weight = y_weights[r, i, a] * x_weights[r, j, b]
                        if weight != 0:
                            cell = table[row + xs[r, j, b], begin:end]
                            for c in range(end - begin):
                                cell[c] += weight * values[c]
