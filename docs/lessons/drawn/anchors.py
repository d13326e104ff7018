"""The anchors themselves: their grid, the border, their number, and why there are any."""

from dataclasses import replace

import numpy as np
import torch
from drawn.drawing import GROUND, Drawn, numbers_table, percent
from drawn.lab import RATIOS, SIZES, STRIDE, Lab
from drawn.timing import HOW, least_seconds
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from torch import Tensor

from rcnn.anchors import AnchorGrid, Anchors
from rcnn.boxes import clip, decode, encode, inside, iou
from rcnn.data.picture import resolve
from rcnn.evaluation.recall import recall
from rcnn.proposals.rpn import ProposalLimits, RPNHead, propose
from rcnn.report import diagrams as show
from rcnn.sample import DataSet, Sample
from rcnn.structures import Batch

SCENE = 4
Picture = UInt8[np.ndarray, "H W 3"]


@torch.inference_mode()
def anchors(lab: Lab) -> Drawn:
    """The grid, one cell's anchors, those that cross the border, and clipped proposals."""
    batch = lab.batch([SCENE]).batch
    grid, crossing = _grid(lab, batch)
    figure, axes = show.new_figure(2, 2, 7.6, 6.2)
    picture, shape = lab.picture(SCENE), (batch.images.shape[2] // STRIDE, batch.images.shape[3] // STRIDE)
    titles = ("every cell of the map has anchors", "the nine anchors of one cell")
    for axis, title in zip(axes[0], titles, strict=True):
        show.show_picture(axis, picture, title, GROUND)
    show.show_cells(axes[0, 0], (shape[0], 208 // STRIDE), STRIDE)
    show.show_points(axes[0, 0], grid.origins[:: len(SIZES) * len(RATIOS)].numpy(), show.BLUE, 10)
    cell = _cell(grid, 96, 80)
    show.show_cells(axes[0, 1], (shape[0], 208 // STRIDE), STRIDE)
    for size, colour in enumerate((show.BLUE, show.VERMILLION, show.GREEN)):
        show.show_boxes(axes[0, 1], grid.boxes[cell][size :: len(SIZES)].numpy(), colour, 1.6)
    show.show_points(axes[0, 1], grid.origins[cell[:1]].numpy(), "black", 24)
    _border(axes[1, 0], picture, grid, crossing)
    _clipped(lab, axes[1, 1], picture, batch, grid)
    sizes = ", ".join(f"{side:.0f}" for side in SIZES)
    show.show_key(axes[0, 1], {f"side {s:.0f}": c for s, c in zip(SIZES, show_colours(), strict=True)})
    return Drawn(
        figure,
        f"One scene of 208 x 160 pixels on its canvas of {batch.images.shape[3]} x {batch.images.shape[2]}: "
        f"{shape[1]} x {shape[0]} cells x 9 = {len(grid.boxes):,} anchors (sides {sizes}; heights over widths 0.5, 1, "
        f"2). {int(crossing.sum()):,} of them, {percent(crossing.float().mean())}, cross the border. "
        "The table: the share of objects that the best proposals cover at IoU 0.7, on the test scenes whole, and "
        f"cropped by {CROP[0]} rows above and below and {CROP[1]} columns left and right, so that the border cuts "
        "some.",
        _border_table(lab),
    )


def show_colours() -> tuple[str, str, str]:
    """The colours of the three sizes."""
    return show.BLUE, show.VERMILLION, show.GREEN


def _grid(lab: Lab, batch: Batch) -> tuple[Anchors, Bool[Tensor, "A"]]:
    """The anchors of a picture, and which of them cross its border."""
    grid = lab.model.rpn.anchors_of(lab.model.features(batch.images), batch)
    return grid, ~inside(grid.boxes[None], batch.sizes)[0]


def _cell(grid: Anchors, x: float, y: float) -> Tensor:
    return ((grid.origins == torch.tensor([x, y])).all(-1)).nonzero()[:, 0]


def _border(axis: Axes, picture: Picture, grid: Anchors, crossing: Bool[Tensor, "A"]) -> None:
    """All anchors of three cells."""
    show.show_picture(axis, picture, "training: those that cross the border are left out", GROUND)
    for x, y in ((16.0, 120.0), (104.0, 8.0), (152.0, 88.0)):
        cell = _cell(grid, x, y)
        show.show_boxes(axis, grid.boxes[cell[crossing[cell]]].numpy(), show.VERMILLION, 1.2, linestyle="--")
        show.show_boxes(axis, grid.boxes[cell[~crossing[cell]]].numpy(), show.BLUE, 1.4)
    axis.set(xlim=(-36, 244), ylim=(188, -28))
    show.show_key(axis, {"take part": show.BLUE, "left out": f"dashed {show.VERMILLION}"})


def _clipped(lab: Lab, axis: Axes, picture: Picture, batch: Batch, grid: Anchors) -> None:
    """The best boxes that the RPN makes of anchors, where they cross the border, and what clipping leaves."""
    logits, deltas = lab.model.rpn.head(lab.model.features(batch.images))
    boxes = decode(deltas[0], grid.boxes)
    over = ~inside(boxes[None], batch.sizes)[0]
    best = torch.where(over, logits[0], -torch.inf).topk(12).indices
    show.show_picture(axis, picture, "test: all take part, their boxes are clipped", GROUND)
    show.show_boxes(axis, boxes[best].numpy(), show.VERMILLION, 1.0, linestyle="--")
    show.show_boxes(axis, clip(boxes[None], batch.sizes)[0, best].numpy(), show.BLUE, 1.6)
    axis.set(xlim=(-36, 244), ylim=(188, -28))
    show.show_key(axis, {"predicted": f"dashed {show.VERMILLION}", "clipped": show.BLUE})


CROP = (10, 13)
"""Rows and columns taken away at each side; the sides keep their ratio, so the rest is not resized."""
NEAR = 8
"""An object is at the border if so few pixels are between."""


def _border_table(lab: Lab) -> str:
    """Recall at test with all anchors and with inner ones alone, on whole scenes and where the border cuts objects."""
    cropped = [_cropped(sample) for sample in lab.data.splits["test"]]
    closer = replace(lab, data=DataSet({**lab.data.splits, "test": cropped}, lab.data.class_names))
    who = ("all objects", "at the border")
    heads = ("scenes", "used at test", *(f"best {most}: {whose}" for most in (20, 100) for whose in who))
    rows = _border_rows(lab, "whole", NEAR, f"within {NEAR} pixels of the border")
    return numbers_table(heads, [*rows, *_border_rows(closer, "cropped", 0, "cut or touched by it")])


def _border_rows(lab: Lab, name: str, reach: float, said: str) -> list[tuple[str, ...]]:
    """The recall at IoU 0.7 of all objects and of those that the border is near to."""
    samples, rows = lab.data.splits["test"], []
    everywhere = [sample.boxes for sample in samples]
    near = [sample.boxes[_near(sample, reach)] for sample in samples]
    label = f"{name}: {sum(map(len, everywhere))} objects, {sum(map(len, near))} {said}"
    for used, inner in (("all anchors", False), ("inner ones", True)):
        found = _proposals(lab, inner)
        values = [recall(truth, found, (0.7,), (most,))[0, 0] for most in (20, 100) for truth in (everywhere, near)]
        rows.append((label, used, *(f"{value:.3f}" for value in values)))
    return rows


def _cropped(sample: Sample) -> Sample:
    """The middle of a scene, with what it still shows of each object, of which so little is cut that none goes."""
    rows, columns = CROP
    picture = resolve(sample.picture)[rows:-rows, columns:-columns]
    height, width = picture.shape[:2]
    moved = sample.boxes - np.array([columns, rows, columns, rows], np.float32)
    boxes = moved.clip(0, np.array([width, height, width, height], np.float32))
    return Sample(sample.id, np.ascontiguousarray(picture), boxes, sample.names)


def _near(sample: Sample, reach: float) -> Bool[np.ndarray, "G"]:
    """The objects that are less than `reach` pixels from the border, or touch it."""
    height, width = resolve(sample.picture).shape[:2]
    gaps = np.concatenate([sample.boxes[:, :2], [width, height] - sample.boxes[:, 2:]], axis=1)
    return gaps.min(axis=1, initial=np.inf) < max(reach, 1e-3)


def _proposals(lab: Lab, inner: bool) -> list[Float[np.ndarray, "P 4"]]:
    """The proposals of each test scene, at its own size."""
    found = []
    for number in range(len(lab.data.splits["test"])):
        batch = lab.batch([number], short=lab.picture(number).shape[0]).batch
        features = lab.model.features(batch.images)
        (logits, deltas), (grid, crossing) = lab.model.rpn.head(features), _grid(lab, batch)
        kept = torch.where(crossing & torch.tensor(inner), -torch.inf, logits)
        proposals = propose(kept, deltas, grid, batch.sizes, lab.model.limits)
        found.append(proposals.boxes[0][proposals.valid[0]].numpy())
    return found


CHOICES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "1 x 1": ((32,), (1.0,)),
    "1 x 3": ((32,), (0.5, 1.0, 2.0)),
    "3 x 1": (SIZES, (1.0,)),
    "3 x 3": (SIZES, RATIOS),
    "4 x 3": ((16, 24, 36, 54), RATIOS),
    "6 x 5": ((16, 22, 29, 37, 46, 58), (0.5, 0.7, 1.0, 1.4, 2.0)),
}


@torch.inference_mode()
def count(lab: Lab) -> Drawn:
    """What more anchors give and cost."""
    truth = torch.from_numpy(np.concatenate([s.boxes for s in (*lab.data.splits["test"], *lab.data.splits["train"])]))
    rows, curves, costs = [], {}, []
    conv = _middle_seconds()
    for name, (sizes, ratios) in CHOICES.items():
        grid = AnchorGrid([sizes], ratios)
        boxes = grid([(20, 28)], (160, 224)).boxes
        best = torch.cat([iou(part, boxes).amax(1) for part in truth.split(64)])
        ones, rest = _seconds(grid.per_cell)
        curves[name] = best.sort(descending=True).values
        costs.append((conv, ones, rest))
        share = [percent((best >= bound).float().mean()) for bound in (0.5, 0.7)]
        times = [f"{1000 * value:,.{digits}f}" for value, digits in ((conv, 0), (ones, 1), (rest, 1))]
        rows.append((name, str(grid.per_cell), f"{38 * 63 * grid.per_cell:,}", *share, f"{best.mean():.2f}", *times))
    figure, axes = show.new_figure(1, 2, 8.2, 3.2)
    _ceilings(axes[0, 0], curves)
    _costs(axes[0, 1], costs)
    heads = ("sizes x ratios", "k", "anchors at 1000 x 600", "objects with an anchor of IoU >= 0.5", ">= 0.7")
    times_heads = ("mean best IoU", "ms: 3x3 layer", "1x1 layers", "top k, decode, NMS")
    return Drawn(
        figure,
        f"Left: the {len(truth):,} digits of the scenes, each with its best anchor before any regression: the share "
        "that has an anchor of at least this IoU. Right: the RPN on a map of VGG16's size (38 x 63 cells, 512 "
        f"channels); {HOW}.",
        numbers_table((*heads, *times_heads), rows),
    )


def _ceilings(axis: Axes, curves: dict[str, Float[Tensor, "G"]]) -> None:
    colours = (show.GRAY, show.SKY, show.ORANGE, show.BLUE, show.GREEN, show.VERMILLION)
    for (name, best), colour in zip(curves.items(), colours, strict=True):
        axis.plot(
            best.numpy(), np.arange(1, len(best) + 1) / len(best), color=colour, label=f"{name} anchors", linewidth=1.8
        )
    axis.axvline(0.7, color="black", linewidth=0.8, linestyle=":")
    axis.set(xlabel="IoU of the best anchor", ylabel="share of objects", xlim=(0.2, 1), ylim=(0, 1.02))
    axis.legend(fontsize=8, frameon=False, loc="lower left")


def _costs(axis: Axes, costs: list[tuple[float, float, float]]) -> None:
    left = np.zeros(len(costs))
    parts = ("3x3 layer", "1x1 layers", "top k, decode, NMS")
    for part, values, colour in zip(parts, np.array(costs).T * 1000, show_colours(), strict=True):
        axis.barh(list(CHOICES), values, left=left, color=colour, label=part)
        left += values
    axis.invert_yaxis()
    axis.set(xlabel="milliseconds a picture")
    axis.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.45, 1.14), ncols=3, columnspacing=1)


MAP = (38, 63)
"""Height and width of VGG16's map of a picture of 1000 x 600 pixels."""


def _middle_seconds() -> float:
    """The RPN's 3x3 layer, which is the same for any number of anchors."""
    layer, features = RPNHead(512, 1).eval().conv, torch.randn(1, 512, *MAP)
    return least_seconds(lambda: layer(features))


def _seconds(per_cell: int) -> tuple[float, float]:
    """The RPN's 1x1 layers and the choice of proposals."""
    torch.manual_seed(0)
    head, hidden = RPNHead(512, per_cell).eval(), torch.randn(1, 512, *MAP)
    grid = AnchorGrid([[16.0 * (n + 1) for n in range(per_cell)]], [1.0])([MAP], (608, 1008))
    sizes, limits = torch.tensor([[600, 1000]]), ProposalLimits(6000, 300)
    logits, deltas = torch.randn(1, len(grid.boxes)), 0.1 * torch.randn(1, len(grid.boxes), 4)
    ones = least_seconds(lambda: (head.cls_logits(hidden), head.bbox_pred(hidden)))
    return ones, least_seconds(lambda: propose(logits, deltas, grid, sizes, limits))


@torch.inference_mode()
def references(lab: Lab) -> Drawn:
    """What the RPN makes of one cell's anchors, and how much less there is to learn from an anchor."""
    truth_batch = lab.batch([SCENE])
    batch, targets = truth_batch.batch, truth_batch.targets
    grid, _ = _grid(lab, batch)
    logits, deltas = lab.model.rpn.head(lab.model.features(batch.images))
    object_box = targets.boxes[0][targets.valid[0]][2]
    middle = (object_box[:2] + object_box[2:]) / 2
    cell = _cell(grid, *((middle / STRIDE).round() * STRIDE).tolist())
    figure, axes = show.new_figure(1, 2, 8.2, 3.3)
    picture = lab.picture(SCENE)
    show.show_picture(axes[0, 0], picture, "one cell: nine anchors, nine boxes", GROUND)
    show.show_boxes(axes[0, 0], grid.boxes[cell].numpy(), show.GRAY, 0.9, linestyle="--")
    show.show_boxes(axes[0, 0], decode(deltas[0, cell], grid.boxes[cell]).numpy(), show.BLUE, 1.4)
    best = cell[logits[0, cell].argmax()]
    show.show_boxes(axes[0, 0], decode(deltas[0, best], grid.boxes[best]).numpy(), show.VERMILLION, 2.2)
    key = {"anchors": f"dashed {show.GRAY}", "moved by their deltas": show.BLUE, "highest score": show.VERMILLION}
    show.show_key(axes[0, 0], key)
    axes[0, 0].set(xlim=_around(middle[0], 52), ylim=_around(middle[1], 40)[::-1])
    return Drawn(figure, *_spread(lab, axes[0, 1], grid))


def _around(middle: Tensor, reach: float) -> tuple[float, float]:
    return float(middle) - reach, float(middle) + reach


def _spread(lab: Lab, axis: Axes, grid: Anchors) -> tuple[str, str]:
    """The targets tw, th that positives have with nine references at a cell and with one."""
    one = AnchorGrid([(32.0,)], (1.0,))([(20, 28)], (160, 224))
    rows = []
    for name, references_, colour in (("one box", one, show.VERMILLION), ("nine anchors", grid, show.BLUE)):
        wanted, best = _targets(lab, references_)
        axis.scatter(
            wanted[:, 2].numpy(), wanted[:, 3].numpy(), s=9, color=colour, alpha=0.55, label=name, linewidths=0
        )
        spread = wanted.square().mean(0).sqrt()
        rows.append((name, *(f"{value:.2f}" for value in spread.tolist()), f"{best:.2f}"))
    axis.axhline(0, color=show.GRAY, linewidth=0.6)
    axis.axvline(0, color=show.GRAY, linewidth=0.6)
    axis.set(xlabel="target tw", ylabel="target th", title="what the regression must say for each object")
    axis.title.set_fontsize(9)
    axis.legend(fontsize=8, frameon=False, markerscale=2)
    caption = (
        "Left: around one digit, the anchors of one cell and the boxes that the trained RPN makes of them. "
        "Right: the targets for width and height of every test digit, seen from its best reference box: "
        "one 32 x 32 box a cell, or nine anchors."
    )
    heads = ("references at a cell", "size of tx", "ty", "tw", "th", "mean IoU of the best reference")
    return caption, numbers_table(heads, rows)


def _targets(lab: Lab, references_: Anchors) -> tuple[Float[Tensor, "G 4"], float]:
    """For each test object the deltas from its best reference, and the mean IoU with it."""
    truth = torch.from_numpy(np.concatenate([sample.boxes for sample in lab.data.splits["test"]]))
    overlap = iou(truth, references_.boxes)
    best = references_.boxes[overlap.argmax(1)]
    return encode(truth, best), float(overlap.amax(1).mean())
