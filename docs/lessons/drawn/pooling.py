"""From a region to numbers: crops, pyramids of bins, RoI pooling, RoIAlign, and the gradient of a maximum."""

from collections.abc import Sequence

import numpy as np
import torch
from drawn.anchors import SCENE
from drawn.drawing import GROUND, Drawn, numbers_table, percent
from drawn.lab import STRIDE, Lab
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from rcnn.boxes import iou
from rcnn.evaluation.recall import recall
from rcnn.heads.warp import warp
from rcnn.ops import roi_align, roi_pool, spp
from rcnn.ops.levels import shapes_of
from rcnn.ops.roi_pool import roi_pool_bins
from rcnn.ops.spp import spp_bins
from rcnn.proposals.selective_search import selective_search
from rcnn.report import diagrams as show

BINS = 3
"""A grid that can be read; the networks' own is 7 x 7."""
REGION = (84.0, 93.0, 127.0, 149.0)
"""Around a digit of the scene, on no cell's border."""
PAIR = (show.BLUE, show.ORANGE, show.GREEN)


def _pool(features: list[Tensor], box: Tensor, how: str, bins: int = BINS) -> Float[Tensor, "C h w"]:
    """One region's features by one of the three operators."""
    levels, boxes = torch.zeros(1, 1, dtype=torch.int64), box[None, None]
    if how == "RoIAlign":
        return roi_align(features, boxes, levels, (STRIDE,), bins, 2, True)[0]
    if how == "SPP":
        return spp(features, boxes, levels, (STRIDE,), (bins,))[0].unflatten(1, (bins, bins))
    return roi_pool(features, boxes, levels, (STRIDE,), bins)[0]


def _bins(features: list[Tensor], box: Tensor, how: str, bins: int = BINS) -> np.ndarray:
    """The cells that each bin of RoI pooling or of SPP spans."""
    shapes, levels, boxes = shapes_of(features), torch.zeros(1, 1, dtype=torch.int64), box[None, None]
    if how == "SPP":
        return spp_bins(shapes, boxes, levels, (STRIDE,), (bins,))[0, 0].numpy()
    return roi_pool_bins(shapes, boxes, levels, (STRIDE,), bins)[0, 0].numpy()


def _channel(features: list[Tensor], box: Tensor) -> int:
    """The channel that varies most within a box."""
    left, top, right, bottom = (int(side) // STRIDE for side in box)
    return int(features[0][0, :, top:bottom, left:right].flatten(1).std(1).argmax())


@torch.inference_mode()
def pooling(lab: Lab) -> Drawn:
    """One region under the three operators: where they read, what they give, and what a small shift changes."""
    features, box = lab.model.features(lab.batch([SCENE]).batch.images), torch.tensor(REGION)
    channel = _channel(features, box)
    figure, axes = show.new_figure(2, 3, 8.6, 5.6, height_ratios=(1, 1))
    values = features[0][0, channel].numpy()
    rows = []
    for axis, how in zip(axes[0], ("RoI pooling", "SPP", "RoIAlign"), strict=True):
        axis.imshow(np.sqrt(values), extent=(0, values.shape[1] * STRIDE, values.shape[0] * STRIDE, 0), cmap="gray")
        axis.set(xlim=(65, 145), ylim=(161, 81), xticks=[], yticks=[], title=how)
        axis.title.set_fontsize(10)
        _overlay(axis, features, box, how)
        pooled = _pool(features, box, how)[channel]
        _write_values(axis, pooled, box)
        rows.append((how, _cells_read(features, box, how), *(f"{value:.2f}" for value in pooled.flatten().tolist())))
    _shifts(axes[1], features, box, channel)
    caption = (
        f"One region of {box[2] - box[0]:.0f} x {box[3] - box[1]:.0f} pixels (dashes) on one channel of the map of "
        f"stride {STRIDE} (brighter is larger), in {BINS} x {BINS} bins with the number "
        "that each bin gives. Below: three of the bins while the region moves to the right by up to two cells."
    )
    heads = ("", "reads (x; y, in cells)", *(f"{row},{column}" for row in range(BINS) for column in range(BINS)))
    return Drawn(figure, caption, numbers_table(heads, rows))


def _overlay(axis: Axes, features: list[Tensor], box: Tensor, how: str) -> None:
    """The true region, and what the operator makes of it."""
    if how == "RoIAlign":
        low, step = box[:2], (box[2:] - box[:2]) / BINS
        lines = torch.stack([low + step * n for n in range(BINS + 1)]).numpy()
        axis.vlines(lines[:, 0], lines[0, 1], lines[-1, 1], color=show.ORANGE, linewidth=1.2)
        axis.hlines(lines[:, 1], lines[0, 0], lines[-1, 0], color=show.ORANGE, linewidth=1.2)
        offsets = (torch.arange(2 * BINS) + 0.5) / 2
        x, y = (low[axis_] + offsets * step[axis_] for axis_ in (0, 1))
        show.show_points(axis, torch.cartesian_prod(x, y).numpy(), show.SKY, 9)
    else:
        show.show_bins(axis, _bins(features, box, how), STRIDE, PAIR, 0.22)
    show.show_boxes(axis, box.numpy(), "white", 2.2)
    show.show_boxes(axis, box.numpy(), "black", 1.4, linestyle="--")


def _write_values(axis: Axes, pooled: Float[Tensor, "h w"], box: Tensor) -> None:
    step = (box[2:] - box[:2]) / BINS
    for row in range(BINS):
        for column in range(BINS):
            x, y = box[:2] + step * (torch.tensor([column, row]) + 0.5)
            style = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "boxstyle": "round,pad=0.15"}
            text = f"{pooled[row, column]:.2f}"
            axis.text(float(x), float(y), text, fontsize=8, ha="center", va="center", bbox=style, zorder=4)


def _cells_read(features: list[Tensor], box: Tensor, how: str) -> str:
    if how == "RoIAlign":
        x1, y1, x2, y2 = (box / STRIDE).tolist()
        return f"{x1:.2f} to {x2:.2f}; {y1:.2f} to {y2:.2f}"
    bins = _bins(features, box, how)
    low, high = bins.min(0), bins.max(0)
    return f"{low[2]} to {high[3]}; {low[0]} to {high[1]}"


def _shifts(axes: Sequence[Axes], features: list[Tensor], box: Tensor, channel: int) -> None:
    """The middle row of bins while the region moves."""
    shifts = np.arange(0, 2 * STRIDE + 0.01, 0.25)
    for axis, how in zip(axes, ("RoI pooling", "SPP", "RoIAlign"), strict=True):
        moved = [_pool(features, box + torch.tensor([shift, 0, shift, 0]).float(), how)[channel] for shift in shifts]
        curves = torch.stack(moved)[:, BINS // 2].numpy()
        for column, colour in enumerate(PAIR):
            axis.plot(shifts, curves[:, column], color=colour, linewidth=1.6, label=("left", "middle", "right")[column])
        axis.set(xlabel="shift of the region in pixels", xticks=(0, 8, 16))
        axis.grid(alpha=0.3)
    low = min(axis.get_ylim()[0] for axis in axes)
    high = max(axis.get_ylim()[1] for axis in axes)
    for axis in axes:
        axis.set_ylim(low, high)
    axes[0].set_ylabel("middle row of bins")
    axes[2].legend(fontsize=8, frameon=False)


@torch.inference_mode()
def pyramid(lab: Lab) -> Drawn:
    """SPPnet's four grids on one region, and the vector that they make."""
    features, box = lab.model.features(lab.batch([SCENE]).batch.images), torch.tensor(REGION)
    channel = _channel(features, box)
    figure, axes = show.new_figure(1, 5, 9.4, 2.3, width_ratios=(1, 1, 1, 1, 1.5))
    pooled = []
    for axis, n in zip(axes[0], (1, 2, 3, 6), strict=False):
        values = features[0][0, channel].numpy()
        axis.imshow(np.sqrt(values), extent=(0, values.shape[1] * STRIDE, values.shape[0] * STRIDE, 0), cmap="gray")
        axis.set(xlim=(72, 140), ylim=(158, 84), xticks=[], yticks=[])
        show.show_bins(axis, _bins(features, box, "SPP", n), STRIDE, PAIR, 0.2)
        show.show_boxes(axis, box.numpy(), "white", 1.4, linestyle="--")
        axis.set_title(f"{n} x {n}", fontsize=9)
        pooled.append(_pool(features, box, "SPP", n)[channel].flatten())
    starts = np.cumsum([0, *(len(part) for part in pooled)])
    shades = (show.BLUE, show.ORANGE, show.GREEN, show.VERMILLION)
    for start, part, colour in zip(starts, pooled, shades, strict=False):
        axes[0, 4].bar(start + np.arange(len(part)), part.numpy(), color=colour, width=0.9)
    axes[0, 4].set_title("this channel's 50 numbers", fontsize=9)
    axes[0, 4].tick_params(labelsize=8)
    shape = features[0].shape
    return Drawn(
        figure,
        f"A region (dashes) on one channel of the map, under grids of 1, 2, 3 and 6 bins a side. Bins that do not "
        f"divide the cells evenly overlap. 50 bins x {shape[1]} channels = {50 * shape[1]:,} numbers, "
        "whatever the region's size.",
    )


def gradient(lab: Lab) -> Drawn:
    """Where the gradient of two overlapping regions goes, through a maximum and through RoIAlign."""
    with torch.inference_mode():
        value = lab.model.features(lab.batch([SCENE]).batch.images)[0].clone()
    regions = torch.tensor([REGION, (109.0, 109.0, 147.0, 153.0)])
    channel = _channel([value], regions[0])
    figure, axes = show.new_figure(1, 4, 9.6, 2.9)
    jobs = (
        ("region A alone", [0], "RoI pooling"),
        ("region B alone", [1], "RoI pooling"),
        ("both: gradients add up", [0, 1], "RoI pooling"),
        ("both, by RoIAlign", [0, 1], "RoIAlign"),
    )
    shares = {}
    for axis, (title, chosen, how) in zip(axes[0], jobs, strict=True):
        arrived = _arrived(value.clone(), regions[chosen], how, channel)
        shares[title] = (arrived > 0).float().sum()
        _show_arrived(axis, arrived, title, regions, chosen)
    (a, b, both, align) = (int(count) for count in shares.values())
    return Drawn(
        figure,
        f"Each of a region's {BINS * BINS} outputs (one channel) sends a gradient of 1 back. By RoI pooling it "
        f"reaches only the cells that held a maximum: {a} of A's, {b} of B's, {both} together; a cell that won several "
        f"bins, or in both regions, gets the sum. By RoIAlign the same outputs reach {align} cells, with bilinear "
        "weights. The numbers are autograd's own.",
    )


def _arrived(value: Tensor, regions: Float[Tensor, "P 4"], how: str, channel: int) -> Float[Tensor, "h w"]:
    """The gradient of the map's channel when each output of the regions has one of 1."""
    value.requires_grad_()
    for region in regions:
        _pool([value], region, how)[channel].sum().backward()
    assert value.grad is not None
    return value.grad[0, channel]


def _show_arrived(axis: Axes, arrived: Float[Tensor, "h w"], title: str, regions: Tensor, chosen: list[int]) -> None:
    show.show_map(axis, arrived.numpy(), title, "Blues").set_clim(0, 4)
    axis.set(xlim=(9, 20), ylim=(20.5, 10.5))
    show.show_cells(axis, (arrived.shape[0], arrived.shape[1]), 1)
    for number in chosen:
        show.show_boxes(axis, regions[number].numpy() / STRIDE, (show.ORANGE, show.VERMILLION)[number], 1.8)
    for row, column in (arrived >= 0.05).nonzero().tolist():
        value = float(arrived[row, column])
        colour = "white" if value > 2 else "black"
        text = f"{value:.0f}" if value == round(value) else f"{value:.1f}".lstrip("0")
        axis.text(column + 0.5, row + 0.5, text, fontsize=7, ha="center", va="center", color=colour)


@torch.inference_mode()
def grid(lab: Lab) -> Drawn:
    """The same region of the same scene at three sizes: other cells, the same 7 x 7 numbers."""
    figure, axes = show.new_figure(1, 3, 9.2, 3.6, width_ratios=(156, 208, 312))
    rows, vectors = [], []
    for axis, short in zip(axes[0], (120, 160, 240), strict=True):
        batch = lab.batch([SCENE], short=short).batch
        factor, features = short / 160, lab.model.features(batch.images)
        box = torch.tensor(REGION) * factor
        height, width = (int(side) for side in batch.sizes[0])
        show.show_picture(axis, lab.picture(SCENE), f"{width} x {height} pixels", GROUND)
        axis.images[0].set_extent((0, width, height, 0))
        axis.set(xlim=(0, width), ylim=(height, 0))
        show.show_cells(axis, (height // STRIDE, width // STRIDE), STRIDE, width=0.3)
        bins = _bins(features, box, "RoI pooling", 7)
        show.show_bins(axis, bins, STRIDE, PAIR, 0.12)
        show.show_boxes(axis, box.numpy(), "black", 1.4, linestyle="--")
        vectors.append(_pool(features, box, "RoI pooling", 7))
        cells = f"{bins[:, 3].max() - bins[:, 2].min()} x {bins[:, 1].max() - bins[:, 0].min()}"
        sizes = f"{(bins[:, 3] - bins[:, 2]).min()} to {(bins[:, 3] - bins[:, 2]).max()}"
        map_shape = " x ".join(str(side) for side in reversed(features[0].shape[2:]))
        out = " x ".join(str(side) for side in vectors[-1].shape)
        rows.append([f"{width} x {height}", map_shape, cells, sizes, out])
    for row, vector in zip(rows, vectors, strict=True):
        row.append(f"{torch.cosine_similarity(vector.flatten(), vectors[1].flatten(), dim=0):.2f}")
    heads = ("picture", "map", "region in cells", "cells a bin spans, across", "pooled", "cosine with the middle one's")
    return Drawn(
        figure,
        "One region of one scene at three sizes, with the 7 x 7 bins of RoI pooling on the cells of each map. Where a "
        "region has fewer than 7 cells, bins share cells.",
        numbers_table(heads, rows),
    )


@torch.inference_mode()
def crops(lab: Lab) -> Drawn:
    """Selective search's regions of one scene, and what R-CNN's network sees of six of them."""
    samples = lab.data.splits["test"]
    found = [selective_search(lab.picture(number))[0] for number in range(min(12, len(samples)))]
    figure = _crops_figure(lab, found[SCENE])
    truth = [sample.boxes for sample in samples[: len(found)]]
    covered = recall(truth, found, (0.5, 0.7), (2000,))[0]
    mean = np.mean([len(boxes) for boxes in found])
    pixels = mean * 227**2 / (160 * 208)
    return Drawn(
        figure,
        f"Left: 40 of the {len(found[SCENE])} regions of selective search on one scene (dashes: true boxes). Right: "
        "six regions warped to 227 x 227 with 16 pixels of context, which is all that the network ever sees. On "
        f"{len(found)} scenes there are {mean:.0f} regions a picture; they cover {percent(covered[0])} of the objects "
        f"at IoU 0.5 and {percent(covered[1])} at 0.7. Warped, they have {pixels:,.0f} times as many pixels as the "
        "picture.",
    )


def _crops_figure(lab: Lab, found: Float[np.ndarray, "P 4"]) -> Figure:
    figure = Figure(figsize=(9.2, 3.1), layout="constrained")
    axes = figure.subplot_mosaic("AABCD;AAEFG", width_ratios=(1.35, 1.35, 1, 1, 1))
    picture, boxes = lab.picture(SCENE), lab.data.splits["test"][SCENE].boxes
    shown = found[np.linspace(0, len(found) - 1, 40).astype(int)]
    show.show_picture(axes["A"], picture, f"40 of {len(found)} regions", GROUND)
    show.show_boxes(axes["A"], shown, show.BLUE, 0.8)
    show.show_truth(axes["A"], boxes)
    image = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
    chosen = _six(found, boxes)
    views = warp(image - 0.5, torch.from_numpy(chosen)[None], 227, 16) + 0.5
    for name, view, box in zip("BCDEFG", views, chosen, strict=True):
        show.show_picture(axes[name], (view.permute(1, 2, 0) * 255).numpy().astype(np.uint8), fade=0.0)
        axes[name].set_xlabel(f"{box[2] - box[0]:.0f} x {box[3] - box[1]:.0f} px", fontsize=8)
    return figure


def _six(found: Float[np.ndarray, "P 4"], truth: Float[np.ndarray, "G 4"]) -> Float[np.ndarray, "6 4"]:
    """The best region of each of three objects, and three others spread over the list."""
    best = iou(torch.from_numpy(truth[:3]), torch.from_numpy(found)).argmax(1).numpy()
    return found[np.concatenate((best, np.linspace(0, len(found) - 1, 5).astype(int)[1:4]))]
