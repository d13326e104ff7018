"""RoIAlign over a pyramid: every region of a batch, from every level, becomes a grid of features in one call.

Each output bin is a weighted sum of rows of one table, the features of all levels laid out channels last: the mean of
`sampling`^2 bilinear samples of four rows each. That is what `torch.nn.functional.embedding_bag` computes, with
threads, half precision and gradients, on any device; in single and double precision on the CPU a compiled kernel reads
the levels where they lie, which spares the table. Proposals are constants of approximate joint training; where boxes
want a gradient, as in exact joint training, autograd goes through the bag.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rcnn.ops.levels import Strides, first_rows, level_geometry, maps_of, refuse_outside, shapes_of, table_of
from rcnn.ops.roi_align_adaptive import roi_align_adaptive
from rcnn.ops.roi_align_numba import Taps, roi_align_backward_numba, roi_align_numba

MOST_THREADS = 2**31 - 1
"""Of one launch: torch's gradient of a bag counts its threads in 32 bits."""
PictureTaps = tuple[Int[Tensor, "B P size taps"], Float[Tensor, "B P size taps"]]
"""Along one axis: the cells that each bin of each region reads, and what each counts."""


def roi_align(
    pyramid: Sequence[Float[Tensor, "B C _ _"]],
    boxes: Float[Tensor, "B P 4"],
    levels: Int[Tensor, "B P"],
    strides: Strides,
    size: int = 7,
    sampling: int = 2,
    aligned: bool = False,
) -> Float[Tensor, "B*P C size size"]:
    """The features of each box on a `size` x `size` grid, mean of `sampling` x `sampling` bilinear samples a bin.

    `strides` are the canvas pixels per cell of each level; boxes are in canvas pixels and each is read from the level
    of the pyramid that `levels` names. `aligned` shifts by half a pixel, so that a cell's value stands at its centre
    (detectron2's later convention). With `sampling` 0 a bin takes as many samples as it has cells, by torchvision's
    slower operator. The result is laid out channels last. Boxes that require a gradient get the exact one, at more
    cost, but for `sampling` 0. Source: Mask R-CNN, section 3; Faster R-CNN, section 3.2, for the gradient of boxes.
    """
    if sampling == 0:
        return roi_align_adaptive(pyramid, boxes.detach(), levels, strides, size, aligned)
    if boxes.requires_grad and torch.is_grad_enabled():
        return _differentiable(pyramid, boxes, levels, strides, size, sampling, aligned)
    return torch.ops.rcnn.roi_align(list(pyramid), boxes, levels, [float(s) for s in strides], size, sampling, aligned)


def _differentiable(
    pyramid: Sequence[Float[Tensor, "B C _ _"]],
    boxes: Float[Tensor, "B P 4"],
    levels: Int[Tensor, "B P"],
    strides: Strides,
    size: int,
    sampling: int,
    aligned: bool,
) -> Float[Tensor, "B*P C size size"]:
    """The same bag in operators that autograd knows: the weights carry the gradient of the boxes."""
    table = table_of(pyramid).flatten(0, 1)
    wide = table.to(torch.promote_types(table.dtype, torch.float32))  # gradients are summed in this type
    indices, weights = _bags(shapes_of(pyramid), boxes, levels, strides, size, sampling, aligned)
    bag = partial(torch.nn.functional.embedding_bag, indices, per_sample_weights=weights.to(wide.dtype), mode="sum")
    parts = [bag(part) for part in wide.split(_channels_at_once(indices, len(table)), dim=1)]
    return _side_by_side(parts).to(table.dtype).view(-1, size, size, table.shape[1]).permute(0, 3, 1, 2)


@torch.library.custom_op("rcnn::roi_align", mutates_args=())
def _roi_align(
    pyramid: Sequence[Tensor],
    boxes: Tensor,
    levels: Tensor,
    strides: Sequence[float],
    size: int,
    sampling: int,
    aligned: bool,
) -> Tensor:
    shapes = shapes_of(pyramid)
    if pyramid[0].device.type == "cpu":
        refuse_outside(pyramid, levels, boxes)
    if _has_kernel(pyramid[0]):
        down, across = _taps(shapes, boxes, levels, strides, size, sampling, aligned)
        return roi_align_numba(pyramid, *_places(levels), *_flat(down, across, pyramid[0].dtype)).permute(0, 3, 1, 2)
    table = table_of(pyramid).flatten(0, 1)
    indices, weights = _bags(shapes, boxes, levels, strides, size, sampling, aligned)
    rows = torch.nn.functional.embedding_bag(indices, table, per_sample_weights=weights.to(table.dtype), mode="sum")
    return rows.view(-1, size, size, table.shape[1]).permute(0, 3, 1, 2)


def _has_kernel(values: Tensor) -> bool:
    """Whether the CPU's kernels serve: Numba knows no half precision, and there the bag is quicker anyway."""
    return values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64)


def _places(levels: Int[Tensor, "B P"]) -> tuple[Int[Tensor, "R"], Int[Tensor, "R"]]:
    """The picture and the level of each region."""
    pictures = torch.arange(len(levels))[:, None].expand(levels.shape)
    return pictures.flatten(), levels.flatten()


def _flat(down: PictureTaps, across: PictureTaps, dtype: torch.dtype) -> tuple[Taps, Taps]:
    """The same for all regions, picture after picture, what they count in the type of the features."""
    (y, y_weight), (x, x_weight) = down, across
    return (y.flatten(0, 1), y_weight.flatten(0, 1).to(dtype)), (x.flatten(0, 1), x_weight.flatten(0, 1).to(dtype))


@_roi_align.register_fake
def _(
    pyramid: Sequence[Tensor],
    boxes: Tensor,
    levels: Tensor,
    strides: Sequence[float],
    size: int,
    sampling: int,
    aligned: bool,
) -> Tensor:
    regions, channels = boxes.shape[0] * boxes.shape[1], pyramid[0].shape[1]
    return pyramid[0].new_empty(regions, size, size, channels).permute(0, 3, 1, 2)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Keep what the gradient of the pyramid needs: where the regions lie, and the levels' shapes."""
    pyramid, boxes, levels, *ctx.settings = inputs
    ctx.shapes = shapes_of(pyramid)
    ctx.save_for_backward(boxes, levels)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    """The gradient of the pyramid; the boxes' goes another way."""
    boxes, levels = ctx.saved_tensors
    sides = [side for shape in ctx.shapes for side in shape]
    rows = torch.ops.rcnn.roi_align_backward(grad, boxes, levels, sides, *ctx.settings)
    return maps_of(rows, ctx.shapes), None, None, None, None, None, None


@torch.library.custom_op("rcnn::roi_align_backward", mutates_args=())
def _roi_align_backward(
    grad: Tensor,
    boxes: Tensor,
    levels: Tensor,
    shapes: Sequence[int],
    strides: Sequence[float],
    size: int,
    sampling: int,
    aligned: bool,
) -> Tensor:
    pairs = list(zip(shapes[::2], shapes[1::2], strict=True))
    table_rows = boxes.shape[0] * sum(h * w for h, w in pairs)
    if _has_kernel(grad):
        taps = _flat(*_taps(pairs, boxes, levels, strides, size, sampling, aligned), grad.dtype)
        first, width = first_rows(pairs, levels)
        return roi_align_backward_numba(grad.permute(0, 2, 3, 1), table_rows, first.flatten(), width.flatten(), *taps)
    indices, weights = _bags(pairs, boxes, levels, strides, size, sampling, aligned)
    rows = grad.permute(0, 2, 3, 1).reshape(len(indices), grad.shape[1])
    if rows.device.type == "cpu":  # adds in the type of `rows`, and a sum of many in half precision stands still
        rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    return _scatter(rows, indices, weights.to(rows.dtype), table_rows).to(grad.dtype)


@_roi_align_backward.register_fake
def _(
    grad: Tensor,
    boxes: Tensor,
    levels: Tensor,
    shapes: Sequence[int],
    strides: Sequence[float],
    size: int,
    sampling: int,
    aligned: bool,
) -> Tensor:
    cells = sum(h * w for h, w in zip(shapes[::2], shapes[1::2], strict=True))
    return grad.new_empty(boxes.shape[0] * cells, grad.shape[1])


_roi_align.register_autograd(_backward, setup_context=_save)


def _scatter(
    rows: Float[Tensor, "M C"], indices: Int[Tensor, "M S"], weights: Float[Tensor, "M S"], table_rows: int
) -> Float[Tensor, "N C"]:
    """The bag's gradient: each row of `rows`, times its weights, added to the table rows that it was read from."""
    bag_of = torch.arange(len(indices), device=rows.device, dtype=indices.dtype).repeat_interleave(indices.shape[1])
    sizes = torch.full_like(bag_of[: len(indices)], indices.shape[1])
    where = indices.flatten(), bag_of, sizes, sizes, table_rows, False, 0, weights.flatten(), -1
    parts = rows.split(_channels_at_once(indices, table_rows), dim=1)
    return _side_by_side([torch.ops.aten._embedding_bag_dense_backward(part, *where) for part in parts])


def _side_by_side(parts: Sequence[Float[Tensor, "N _"]]) -> Float[Tensor, "N C"]:
    return torch.cat(list(parts), dim=1) if len(parts) > 1 else parts[0]


def _channels_at_once(indices: Int[Tensor, "M S"], table_rows: int) -> int:
    """How many a launch can do: a thread for each channel of each run of ten samples, and of each table row."""
    runs = indices.numel() // 10 + min(indices.numel(), table_rows)
    return max(32, MOST_THREADS // max(1, runs) // 32 * 32)


def _bags(
    shapes: Sequence[tuple[int, int]],
    boxes: Float[Tensor, "B P 4"],
    levels: Int[Tensor, "B P"],
    strides: Strides,
    size: int,
    sampling: int,
    aligned: bool,
) -> tuple[Int[Tensor, "bins samples"], Float[Tensor, "bins samples"]]:
    """Which table rows each output bin reads, and what each row counts."""
    (y, y_weight), (x, x_weight) = _taps(shapes, boxes, levels, strides, size, sampling, aligned)
    first_row, w = first_rows(shapes, levels)
    rows = first_row[..., None, None] + y * w[..., None, None]
    indices = rows[..., :, None, :, None] + x[..., None, :, None, :]  # [B, P, size, size, 2s, 2s]
    weights = y_weight[..., :, None, :, None] * x_weight[..., None, :, None, :]
    bins = levels.numel() * size * size
    samples = (2 * sampling) ** 2
    return indices.reshape(bins, samples).to(torch.int32), weights.reshape(bins, samples)


def _taps(
    shapes: Sequence[tuple[int, int]],
    boxes: Float[Tensor, "B P 4"],
    levels: Int[Tensor, "B P"],
    strides: Strides,
    size: int,
    sampling: int,
    aligned: bool,
) -> tuple[PictureTaps, PictureTaps]:
    """The rows of cells that each bin reads, and the columns, 2 * sampling of each, and what each counts."""
    h, w, _, stride = level_geometry(shapes, strides, levels, boxes.dtype)
    corners = boxes / stride[..., None] - (0.5 if aligned else 0.0)  # [B, P, 4]
    return (
        _samples(corners[..., 1], corners[..., 3], h, size, sampling, aligned),
        _samples(corners[..., 0], corners[..., 2], w, size, sampling, aligned),
    )


def _samples(
    low: Float[Tensor, "B P"],
    high: Float[Tensor, "B P"],
    extent: Int[Tensor, "B P"],
    size: int,
    sampling: int,
    aligned: bool,
) -> PictureTaps:
    """Along one axis: the two cells beside every sample point of every bin, and what each counts."""
    length = high - low if aligned else (high - low).clamp(min=1)
    places = (torch.arange(size * sampling, device=low.device, dtype=low.dtype) + 0.5) / sampling  # in bins
    points = low[..., None] + places * (length / size)[..., None]  # [B, P, size * sampling]
    last = extent[..., None] - 1
    inside = (points >= -1) & (points <= last + 1)
    points = torch.where(inside, torch.minimum(points.clamp(min=0), last.to(points.dtype)), 0)  # also where it is NaN
    cell = points.floor()
    fraction = points - cell
    cell = cell.to(torch.int64)
    cells = torch.stack((cell, torch.minimum(cell + 1, last)), dim=-1)
    weights = torch.stack((1 - fraction, fraction), dim=-1) * (inside[..., None] / sampling)
    shape = (size, 2 * sampling)
    return cells.flatten(-2).unflatten(-1, shape), weights.flatten(-2).unflatten(-1, shape)
