"""`bin_max` on any device, with shapes that follow from the settings alone.

A rectangle is covered by four overlapping windows whose sides are powers of two, one in each of its corners. So the
maxima of all such windows are made first, each from two of half the size; then every bin, whatever its size, is four
rows of one table. That takes memory: for a map of 38 x 50 cells, 36 times the map and as much again for the winners.
Large maps are done a few channels at a time.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rcnn.ops.levels import shapes_of

Maxima = tuple[Tensor, Tensor]
"""Values and their winners, of one shape."""
MOST_ROOM = 1 << 30
"""Bytes of a table, which is held twice while it is laid together."""


def bin_max_windows(
    pyramid: Sequence[Float[Tensor, "B C _ _"]], levels: Int[Tensor, "B P"], bins: Int[Tensor, "B P K 4"]
) -> tuple[Float[Tensor, "B*P K C"], Int[Tensor, "B*P K C"]]:
    """`rcnn.ops.bin_max` with the bins before the channels."""
    step = _channels_at_once(pyramid)
    slices = zip(*(level.split(step, dim=1) for level in pyramid), strict=True)
    parts = [_of_windows(maps, levels, bins) for maps in slices]
    values, winners = (torch.cat(part, dim=-1) if len(part) > 1 else part[0] for part in zip(*parts, strict=True))
    return values, winners


def _channels_at_once(pyramid: Sequence[Float[Tensor, "B C _ _"]]) -> int:
    """How many have a table that is not too large; at least one."""
    windows = sum(h * w * h.bit_length() * w.bit_length() for h, w in shapes_of(pyramid))
    room = len(pyramid[0]) * windows * (pyramid[0].element_size() + 4)
    return max(1, MOST_ROOM // max(1, room))


def _of_windows(
    pyramid: Sequence[Float[Tensor, "B C _ _"]], levels: Int[Tensor, "B P"], bins: Int[Tensor, "B P K 4"]
) -> tuple[Float[Tensor, "B*P K C"], Int[Tensor, "B*P K C"]]:
    values, winners = _windows(pyramid)
    top, bottom, left, right = bins.unbind(-1)  # [B, P, K]
    empty = (bottom <= top) | (right <= left)
    shapes = shapes_of(pyramid)
    longest = max(max(shape) for shape in shapes)
    tall, wide = _octave(bottom - top, longest), _octave(right - left, longest)
    row, width = _first_rows(shapes, levels, tall, wide)
    lower, righter = bottom - (1 << tall), right - (1 << wide)
    corners = [torch.where(empty, 0, row + y * width + x).flatten() for y in (top, lower) for x in (left, righter)]
    best, where = values[corners[0]], winners[corners[0]]
    for corner in corners[1:]:
        best, where = _larger((best, where), (values[corner], winners[corner]))
    shape, blank = (-1, bins.shape[2], values.shape[1]), empty.flatten()[:, None]
    return best.masked_fill(blank, 0).view(shape), where.masked_fill(blank, -1).view(shape)


def _windows(pyramid: Sequence[Float[Tensor, "B C _ _"]]) -> Maxima:
    """One table, level after level, height after height, width after width; then picture by picture, cell by cell."""
    tables: list[Maxima] = []
    first, cells = 0, sum(height * width for height, width in shapes_of(pyramid))
    for level in pyramid:
        pictures, channels, height, width = level.shape
        grid = torch.arange(height * width, device=level.device, dtype=torch.int32).view(height, width, 1)
        offsets = torch.arange(pictures, device=level.device, dtype=torch.int32).view(-1, 1, 1, 1) * cells + first
        tall = level.permute(0, 2, 3, 1), (grid + offsets).expand(-1, -1, -1, channels)  # [B, H, W, C]
        for rows in range(height.bit_length()):
            wide = tall
            for columns in range(width.bit_length()):
                tables.append(wide)
                wide = _larger(wide, _moved(wide, 2, 1 << columns))
            tall = _larger(tall, _moved(tall, 1, 1 << rows))
        first += height * width
    values, winners = (torch.cat([part.flatten(0, 2) for part in parts]) for parts in zip(*tables, strict=True))
    return values, winners


def _moved(maxima: Maxima, dim: int, by: int) -> Maxima:
    """The neighbours `by` cells on; at the map's end the last ones again, which no bin reads."""
    count = maxima[0].shape[dim]
    index = (torch.arange(count, device=maxima[0].device) + by).clamp(max=count - 1)
    return maxima[0].index_select(dim, index), maxima[1].index_select(dim, index)


def _larger(one: Maxima, other: Maxima) -> Maxima:
    """The larger value of each pair; of two alike the one that comes first in reading order."""
    later = (other[0] > one[0]) | ((other[0] == one[0]) & (other[1] < one[1]))
    return torch.where(later, other[0], one[0]), torch.where(later, other[1], one[1])


def _octave(length: Int[Tensor, "*N"], longest: int) -> Int[Tensor, "*N"]:
    """The base 2 logarithm of each length, rounded down; 0 below 1."""
    powers = [1 << k for k in range(1, longest.bit_length())]
    return sum((length >= power for power in powers), torch.zeros_like(length))


def _first_rows(
    shapes: Sequence[tuple[int, int]],
    levels: Int[Tensor, "B P"],
    tall: Int[Tensor, "B P K"],
    wide: Int[Tensor, "B P K"],
) -> tuple[Int[Tensor, "B P K"], Int[Tensor, "B P 1"]]:
    """Of the windows of each bin's size, the table row that has its picture's first cell; and the map's width."""
    pictures, row, width = len(levels), torch.zeros_like(tall), torch.zeros_like(levels)
    picture = torch.arange(pictures, device=levels.device)[:, None, None]
    first = 0
    for number, (h, w) in enumerate(shapes):
        here = levels == number
        block = tall * w.bit_length() + wide
        row = torch.where(here[..., None], first + (block * pictures + picture) * (h * w), row)
        width = torch.where(here, w, width)
        first += h.bit_length() * w.bit_length() * pictures * h * w
    return row, width[..., None]
