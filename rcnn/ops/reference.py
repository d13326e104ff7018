"""What each operator means, as plainly as it can be said: slow, and the measure of the fast kernels."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rcnn.boxes import area, intersection, iou
from rcnn.ops.levels import Strides


def roi_align_reference(
    pyramid: Sequence[Float[Tensor, "B C _ _"]],
    boxes: Float[Tensor, "B P 4"],
    levels: Int[Tensor, "B P"],
    strides: Strides,
    size: int = 7,
    sampling: int = 2,
    aligned: bool = False,
) -> Float[Tensor, "B*P C size size"]:
    """`roi_align` as one says it: one region at a time, sample points, bilinear values, means. Differentiable."""
    pooled = []
    for picture, regions in enumerate(boxes):
        for box, level in zip(regions, levels[picture].tolist(), strict=True):
            features, (x1, y1, x2, y2) = pyramid[level][picture], box / strides[level] - (0.5 if aligned else 0.0)
            down, across = (sampling or _cells(*ends, size, aligned) for ends in ((y1, y2), (x1, x2)))
            ys, xs = _grid(y1, y2, size * down, aligned), _grid(x1, x2, size * across, aligned)
            values = _bilinear(features, ys[:, None].expand(-1, len(xs)), xs[None].expand(len(ys), -1))
            means = torch.nn.functional.avg_pool2d(values[None], (down, across))[0] if down * across else None
            pooled.append(values.new_zeros(len(features), size, size) if means is None else means)
    return torch.stack(pooled) if pooled else pyramid[0].new_zeros(0, pyramid[0].shape[1], size, size)


def _cells(low: Tensor, high: Tensor, size: int, aligned: bool) -> int:
    """The cells of a bin along one axis, where there are as many samples; none in a box without an extent."""
    length = high - low if aligned else (high - low).clamp(min=1)
    return max(0, math.ceil(float(length / size)))


def _grid(low: Tensor, high: Tensor, points: int, aligned: bool) -> Float[Tensor, "points"]:
    length = high - low if aligned else (high - low).clamp(min=1)
    return low + (torch.arange(points, device=low.device, dtype=low.dtype) + 0.5) * length / points


def _bilinear(features: Float[Tensor, "C H W"], ys: Tensor, xs: Tensor) -> Tensor:
    """Values between the cells; the border cell's beyond it, 0 farther than one cell outside."""
    height, width = features.shape[1:]
    inside = (ys >= -1) & (ys <= height) & (xs >= -1) & (xs <= width)
    y, x = (torch.where(inside, at.clamp(0, n - 1), 0) for at, n in ((ys, height), (xs, width)))
    top, left = y.floor().long(), x.floor().long()
    bottom, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    dy, dx = y - top, x - left
    upper = features[:, top, left] * (1 - dx) + features[:, top, right] * dx
    lower = features[:, bottom, left] * (1 - dx) + features[:, bottom, right] * dx
    return (upper * (1 - dy) + lower * dy) * inside


def roi_pool_reference(
    pyramid: Sequence[Float[Tensor, "B C _ _"]],
    boxes: Float[Tensor, "B P 4"],
    levels: Int[Tensor, "B P"],
    strides: Strides,
    size: int = 7,
) -> Float[Tensor, "B*P C size size"]:
    """`roi_pool` as one says it: one region at a time, one bin at a time. Differentiable."""
    pooled = []
    for picture, regions in enumerate(boxes):
        for box, level in zip(regions, levels[picture].tolist(), strict=True):
            features, corners = pyramid[level][picture], (box / strides[level]).clamp(-(2**22), 2**22)
            cells, rest = corners.abs().floor(), corners.abs().frac()
            x1, y1, x2, y2 = torch.where(box.isnan().any(), -1, (cells + (rest >= 0.5)).copysign(corners))
            rows, columns = _roi_bins(y1, y2, size), _roi_bins(x1, x2, size)
            pooled.append(torch.stack([_largest(features, *row, *column) for row in rows for column in columns], dim=1))
    shape = (-1, pyramid[0].shape[1], size, size)
    return torch.cat([pyramid[0].new_zeros(0), *(values.flatten() for values in pooled)]).view(shape)


def _roi_bins(low: Tensor, high: Tensor, size: int) -> list[tuple[int, int]]:
    step = (high - low + 1).clamp(min=1) / size
    return [(int(low + (i * step).floor()), int(low + ((i + 1) * step).ceil())) for i in range(size)]


def spp_reference(
    pyramid: Sequence[Float[Tensor, "B C _ _"]],
    boxes: Float[Tensor, "B P 4"],
    levels: Int[Tensor, "B P"],
    strides: Strides,
    bins: Sequence[int] = (1, 2, 3, 6),
) -> Float[Tensor, "B*P C cells"]:
    """`spp` as one says it: one region at a time, one bin at a time. Differentiable."""
    pooled = []
    for picture, regions in enumerate(boxes.nan_to_num()):
        for box, level in zip(regions, levels[picture].tolist(), strict=True):
            features, (x1, y1, x2, y2) = pyramid[level][picture], box
            top, height = _spp_cells(y1, y2, strides[level], features.shape[1])
            left, width = _spp_cells(x1, x2, strides[level], features.shape[2])
            for n in bins:
                rows = [(top + i * height // n, top - (-(i + 1) * height // n)) for i in range(n)]
                columns = [(left + i * width // n, left - (-(i + 1) * width // n)) for i in range(n)]
                pooled += [_largest(features, *row, *column) for row in rows for column in columns]
    channels, cells = pyramid[0].shape[1], sum(n * n for n in bins)
    return torch.cat([pyramid[0].new_zeros(0), *pooled]).view(-1, cells, channels).transpose(1, 2)


def _spp_cells(low: Tensor, high: Tensor, stride: float | int, extent: int) -> tuple[int, int]:
    first = min(max(int(((low + 1) / stride).floor()), 0), extent - 1)
    end = min(int((high / stride).ceil()) - 1, extent)
    return first, max(end - first, 1)


def _largest(features: Float[Tensor, "C H W"], top: int, bottom: int, left: int, right: int) -> Float[Tensor, "C"]:
    """The maximum of a rectangle, its gradient to the first cell that holds it; 0 if there is no cell."""
    cells = features[:, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)].flatten(1)
    if not cells.shape[1]:
        return features.new_zeros(len(features))
    return cells.gather(1, cells.argmax(dim=1, keepdim=True))[:, 0]


def nms_reference(
    boxes: Float[Tensor, "B N 4"],
    scores: Float[Tensor, "B N"],
    groups: Int[Tensor, "B N"],
    valid: Bool[Tensor, "B N"],
    threshold: float,
    k: int,
) -> tuple[Int[Tensor, "B k"], Bool[Tensor, "B k"]]:
    """`nms` as one says it: k times, take the best box left and strike out what it overlaps. Any device, no sync."""
    count = boxes.shape[1]
    empty = torch.zeros(boxes.shape[0], k, dtype=torch.int64, device=boxes.device)
    if count == 0:
        return empty, empty.bool()
    left = valid & scores.isfinite()  # [B, N]
    order = torch.where(left, scores, -torch.inf).argsort(dim=1, descending=True, stable=True)
    boxes, groups, left = (
        boxes.gather(1, order[..., None].expand(-1, -1, 4)),
        groups.gather(1, order),
        left.gather(1, order),
    )
    ranks = torch.arange(count, device=boxes.device)
    kept, filled = [], []
    for _ in range(k):
        best = torch.where(left, ranks, count).amin(dim=1, keepdim=True)  # [B, 1]
        found, best = best < count, best.clamp(max=count - 1)
        best_box = boxes.gather(1, best[..., None].expand(-1, -1, 4))  # [B, 1, 4]
        struck = (iou(best_box, boxes)[:, 0] > threshold) & (groups == groups.gather(1, best))
        left = left & ~struck & (ranks != best)
        kept.append(torch.where(found, order.gather(1, best), 0))
        filled.append(found)
    return torch.cat([empty[:, :0], *kept], dim=1), torch.cat([empty[:, :0].bool(), *filled], dim=1)


BLOCK = 8
"""True boxes per step: a whole [candidates, objects] table of a large batch would not fit in memory."""


def best_overlap_reference(
    candidates: Float[Tensor, "_ N 4"],
    boxes: Float[Tensor, "B G 4"],
    teaches: Bool[Tensor, "B G"],
    skipped: Bool[Tensor, "B G"],
    usable: Bool[Tensor, "B N"] | None = None,
) -> tuple[Float[Tensor, "B N"], Int[Tensor, "B N"], Bool[Tensor, "B N"], Bool[Tensor, "B N"]]:
    """`best_overlap` as one says it: every candidate against some boxes at a time. Any device, no sync."""
    shape = (boxes.shape[0], candidates.shape[1])
    iou = boxes.new_zeros(shape)
    index = torch.zeros(shape, dtype=torch.int64, device=iou.device)
    best, ignored = torch.zeros_like(iou, dtype=torch.bool), torch.zeros_like(iou, dtype=torch.bool)
    sides = area(candidates)[..., None]  # [_, N, 1]
    count = boxes.shape[1] if candidates.shape[1] else 0  # no maximum over no candidates
    for start in range(0, count, BLOCK):
        block = slice(start, start + BLOCK)
        common = intersection(candidates, boxes[:, block])  # [B, N, BLOCK]
        union = area(boxes[:, block])[:, None] + sides - common
        overlap = torch.where(teaches[:, None, block], common / union.clamp(min=1e-9), 0)
        if usable is not None:
            overlap = torch.where(usable[..., None], overlap, 0)
        top, place = overlap.max(dim=2)
        index = torch.where(top > iou, place + start, index)
        iou = torch.maximum(iou, top)
        best = best | ((overlap == overlap.amax(dim=1, keepdim=True)) & (overlap > 0)).any(dim=2)
        inside = (common > 0) & (common >= 0.5 * sides)
        ignored = ignored | (inside & skipped[:, None, block]).any(dim=2)
    return iou, index, best, ignored


def conv3x3_reference(
    x: Float[Tensor, "B C H W"], weight: Float[Tensor, "D C 3 3"], bias: Float[Tensor, "D"] | None
) -> Float[Tensor, "B D H W"]:
    """`conv2d` of 3 x 3 filters as one says it: each cell's nine neighbours times a filter, zeros beyond the map."""
    count, channels, height, width = x.shape
    around = x.new_zeros(count, channels, height + 2, width + 2)
    around[:, :, 1:-1, 1:-1] = x
    out = x.new_empty(count, len(weight), height, width)
    for row in range(height):
        for column in range(width):
            window = around[:, None, :, row : row + 3, column : column + 3]  # [B, 1, C, 3, 3]
            out[:, :, row, column] = (window * weight).sum(dim=(2, 3, 4))
    return out if bias is None else out + bias[:, None, None]
