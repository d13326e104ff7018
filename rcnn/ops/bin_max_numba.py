"""The CPU kernels of `bin_max` and of its gradient: a thread each for some of the regions, or of the channels."""

from collections.abc import Sequence
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rcnn.compiled import compiled
from rcnn.ops.levels import first_rows, refuse_outside, shapes_of, table_of
from rcnn.threads import together


def bin_max_numba(
    pyramid: Sequence[Float[Tensor, "B C _ _"]], levels: Int[Tensor, "B P"], bins: Int[Tensor, "B P K 4"]
) -> tuple[Float[Tensor, "B*P K C"], Int[Tensor, "B*P K C"]]:
    """`rcnn.ops.bin_max` for tensors on the CPU, with the bins before the channels."""
    dtype, shapes = pyramid[0].dtype, shapes_of(pyramid)
    _refuse_outside(pyramid, levels, bins)
    table = table_of(pyramid)  # [B, cells, C]
    first, width = first_rows(shapes, levels)
    table = table.flatten(0, 1).to(torch.promote_types(dtype, torch.float32))  # Numba knows no half precision
    shape = (levels.numel(), bins.shape[2], table.shape[1])
    pooled, winners = torch.empty(shape, dtype=table.dtype), torch.empty(shape, dtype=torch.int32)
    tensors = (table, first.flatten(), width.flatten(), bins.flatten(0, 1).contiguous(), pooled, winners)
    arrays, threads, kernel = [tensor.numpy() for tensor in tensors], torch.get_num_threads(), compiled(_maximum)
    together(lambda thread: kernel(*arrays, thread, threads), threads)
    return pooled.to(dtype), winners


def _refuse_outside(
    pyramid: Sequence[Float[Tensor, "B C _ _"]], levels: Int[Tensor, "B P"], bins: Int[Tensor, "B P K 4"]
) -> None:
    """Raise ValueError for a bin that is not within the map of its level."""
    refuse_outside(pyramid, levels, bins)
    shapes = torch.tensor([(height, height, width, width) for height, width in shapes_of(pyramid)])
    if not ((bins >= 0) & (bins <= shapes[levels][:, :, None])).all():
        raise ValueError("a bin is not within the map of its level")


def scatter_numba(values: Float[Tensor, "R K C"], winners: Int[Tensor, "R K C"], rows: int) -> Float[Tensor, "rows C"]:
    """`rcnn.ops.bin_max.scatter_add` for tensors on the CPU."""
    channels, threads, kernel = values.shape[2], torch.get_num_threads(), compiled(_scatter)
    table = torch.zeros(rows, channels, dtype=values.dtype)
    arrays = [tensor.numpy() for tensor in (values, winners.contiguous(), table)]
    together(lambda n: kernel(*arrays, channels * n // threads, channels * (n + 1) // threads), threads)
    return table


@no_type_check  # shape checks at run time wrap every annotated function, and Numba compiles no wrapper
def _maximum(
    table: np.ndarray,  # [cells, C]
    first: np.ndarray,  # [R] int64, the table row of the first cell of a region's map
    width: np.ndarray,  # [R] int64, cells in a row of that map
    bins: np.ndarray,  # [R, K, 4] int64: top, bottom, left, right
    pooled: np.ndarray,  # [R, K, C], written
    winners: np.ndarray,  # [R, K, C] int32, written
    start: int,
    step: int,
) -> None:
    channels = table.shape[1]
    for r in range(start, bins.shape[0], step):
        for k in range(bins.shape[1]):
            top, bottom, left, right = bins[r, k]
            best, where = pooled[r, k], winners[r, k]
            if bottom <= top or right <= left:
                best[:] = 0
                where[:] = -1
                continue
            origin, across = first[r] + top * width[r] + left, right - left
            count = (bottom - top) * across
            best[:] = table[origin]
            where[:] = origin
            for cell in range(1, count, 2):  # two at a time: half the traffic of what is best so far
                after = min(cell + 1, count - 1)  # behind the last one, that one again: it is no larger than itself
                one = np.int32(origin + cell // across * width[r] + cell % across)
                two = np.int32(origin + after // across * width[r] + after % across)
                ones, twos = table[one], table[two]
                for c in range(channels):
                    larger = ones[c] > best[c]
                    value = ones[c] if larger else best[c]
                    row = one if larger else where[c]
                    larger = twos[c] > value
                    best[c] = twos[c] if larger else value
                    where[c] = two if larger else row


@no_type_check
def _scatter(
    values: np.ndarray,  # [R, K, C], laid out in any way
    winners: np.ndarray,  # [R, K, C] int32
    table: np.ndarray,  # [rows, C], added to
    start: int,
    stop: int,
) -> None:
    flat, width = table.ravel(), np.uint64(table.shape[1])  # unsigned places: none is counted from the end
    for r in range(values.shape[0]):
        for k in range(values.shape[1]):
            value, winner = values[r, k], winners[r, k]
            for c in range(start, stop):
                if winner[c] >= 0:
                    flat[np.uint64(winner[c]) * width + np.uint64(c)] += value[c]
