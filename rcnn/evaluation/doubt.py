"""Why AP is next to nothing although there are detections: usual mistakes are undone, one at a time, to see."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rcnn import boxes as box_ops
from rcnn.evaluation.protocols import evaluate
from rcnn.evaluation.scenes import make_scenes
from rcnn.evaluation.voc import PASSING_IOU
from rcnn.sample import Sample
from rcnn.structures import Detections

Size = tuple[int, int]
Boxes = Float[Tensor, "D 4"]
SUSPICIOUS, CONVINCING = 0.1, 0.2
"""mAP below the first is looked into; a mistake is named where mAP without it is at least the second."""


def doubts(
    samples: Sequence[Sample],
    found: Sequence[Detections],
    class_names: tuple[str, ...],
    size_of: Callable[[Sample], Size] | None = None,
) -> tuple[str, ...]:
    """What may be wrong with detections that hit next to nothing, a line each; none where they do hit.

    `size_of` gives the height and width of a sample's picture, for boxes that may be shares of it.
    """
    if not any(len(each) for each in found):
        return ("there is no detection at all",) if any(sample.names for sample in samples) else ()
    if not evaluate(samples, found, class_names, "voc").metrics["mAP"] < SUSPICIOUS:
        return ()
    tried = _without_mistakes(samples, found, class_names, size_of)
    scored = ((says, evaluate(samples, other, class_names, "voc").metrics["mAP"]) for says, other in tried)
    return tuple(f"{says}: with that mended, mAP would be {score:.2f}" for says, score in scored if score >= CONVINCING)


def _without_mistakes(
    samples: Sequence[Sample],
    found: Sequence[Detections],
    names: tuple[str, ...],
    size_of: Callable[[Sample], Size] | None,
) -> Iterator[tuple[str, list[Detections]]]:
    for step in (1, -1):
        shifted = [replace(each, labels=(each.labels - 1 + step) % len(names) + 1) for each in found]
        if len(names) > 1:
            yield f"the class numbers seem to be off by {-step:+d}", shifted
    if len(names) > 1:
        yield _by_overlap(samples, found, names)
    yield (
        "the boxes seem to be x1, y1, x2, y2 instead of x, y, width, height",
        _each(found, _corners),
    )
    yield "the boxes seem to have x and y exchanged", _each(found, lambda boxes: boxes[:, [1, 0, 3, 2]])
    if size_of is not None and max(float(each.boxes.abs().max()) for each in found if len(each)) <= 2:
        pairs = zip(samples, found, strict=True)
        yield "the boxes seem to be shares of the picture, not pixels", [_in_pixels(f, size_of(s)) for s, f in pairs]


def _each(found: Sequence[Detections], change: Callable[[Boxes], Boxes]) -> list[Detections]:
    return [replace(each, boxes=change(each.boxes)) for each in found]


def _corners(boxes: Boxes) -> Boxes:
    """What was read as width and height, and added, is the far corner itself."""
    return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)


def _in_pixels(found: Detections, size: Size) -> Detections:
    height, width = size
    return replace(found, boxes=found.boxes * torch.tensor([width, height, width, height]))


def _by_overlap(
    samples: Sequence[Sample], found: Sequence[Detections], names: tuple[str, ...]
) -> tuple[str, list[Detections]]:
    """The detections with the class of most objects that those of their own class overlap by half."""
    table = np.zeros((len(names), len(names)), np.int64)
    for scene in make_scenes(samples, found, names):
        iou = box_ops.iou(torch.from_numpy(scene.found_boxes), torch.from_numpy(scene.boxes)).numpy()
        rows, columns = np.nonzero(iou >= PASSING_IOU)
        np.add.at(table, (scene.found_labels[rows] - 1, scene.labels[columns] - 1), 1)
    become = np.where(table.any(axis=1), table.argmax(axis=1), np.arange(len(names)))
    moved = [f"{names[a]} on {names[b]}" for a, b in enumerate(become) if a != b]
    other = [replace(each, labels=torch.from_numpy(become)[each.labels - 1] + 1) for each in found]
    return f"the classes seem to be exchanged (detections of {', '.join(moved[:3])})", other
