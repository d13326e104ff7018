"""From what was found in several looks at one picture to one list of detections."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from rcnn.structures import Detections

INSIDE = 0.6
"""A piece of an object of which so much lies in another detection of its class is a part of that one."""


def joined(looks: Sequence[Detections], class_names: tuple[str, ...]) -> Detections:
    """All detections of several looks, already in the same pixels, one after another."""
    if not looks:
        return Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), class_names)
    boxes, scores, labels = (torch.cat([getattr(one, key) for one in looks]) for key in ("boxes", "scores", "labels"))
    return Detections(boxes, scores, labels, class_names)


def merged(found: Detections, overlap: float, cut: Bool[Tensor, "D"] | None = None) -> Detections:
    """Each object once, best first: of detections of a class that overlap by an IoU above `overlap` the best is kept.

    `cut` marks those that an edge inside the picture has cut: they come after all others, and are also dropped where
    they lie mostly inside of a kept one, whose whole they are a part of.
    """
    parts = torch.zeros(len(found), dtype=torch.bool) if cut is None else cut
    order = (parts.double() * 2 - found.scores.double()).argsort(stable=True)
    boxes, labels, pieces = (tensor[order].numpy() for tensor in (found.boxes.double(), found.labels, parts))
    chosen = order[torch.from_numpy(_kept(boxes, labels, pieces, overlap))]
    best = chosen[found.scores[chosen].argsort(descending=True, stable=True)]
    return Detections(found.boxes[best], found.scores[best], found.labels[best], found.class_names)


def _kept(
    boxes: Float64[np.ndarray, "D 4"], labels: Int64[np.ndarray, "D"], parts: Bool[np.ndarray, "D"], overlap: float
) -> Int64[np.ndarray, "K"]:
    """The places of those that no earlier one stands for. One by one: there may be too many for a table of pairs."""
    places = np.zeros(len(boxes), np.int64)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    count = 0
    for place, box in enumerate(boxes):
        before = places[:count][labels[places[:count]] == labels[place]]
        sides = np.minimum(box[2:], boxes[before, 2:]) - np.maximum(box[:2], boxes[before, :2])
        common = sides.clip(min=0).prod(axis=1)
        rivals = common > overlap * (areas[place] + areas[before] - common)
        if parts[place]:
            rivals |= common > INSIDE * areas[place]
        if not rivals.any():
            places[count] = place
            count += 1
    return places[:count]
