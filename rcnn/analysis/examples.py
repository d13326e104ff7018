"""Single errors to look at."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from rcnn.analysis.causes import MISSED, Causes
from rcnn.analysis.matching import Matching

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Example:
    """One error: what was found, and the object that it concerns. Boxes in pixels of the original picture."""

    sample_id: str
    picture: int
    """The number of the sample, from 0."""
    kind: str
    box: Box
    """The detection's; a missed object's own."""
    score: float | None
    """None for a missed object."""
    name: str
    """The predicted class; a missed object's own."""
    truth: int | None
    """Where the object stands in its sample, from 0; None for the background."""
    truth_box: Box | None
    truth_name: str | None
    iou: float | None
    """Of the detection and that object."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return dict(vars(self))


def examples_of(matching: Matching, causes: Causes, kind: str, count: int) -> list[Example]:
    """The worst `count` errors of a kind: false detections by score, missed objects by area, highest first."""
    rows = np.flatnonzero(causes.of(kind))
    worth = matching.truth.area if kind == MISSED else matching.found.scores
    rows = rows[np.argsort(-worth[rows], kind="stable")][:count]
    make = _missed if kind == MISSED else _false
    return [make(matching, causes, kind, int(row)) for row in rows]


def box_of(boxes: np.ndarray, row: int) -> Box:
    """A row of boxes as plain numbers."""
    x1, y1, x2, y2 = boxes[row].tolist()
    return x1, y1, x2, y2


def _missed(matching: Matching, causes: Causes, kind: str, row: int) -> Example:
    truth = matching.truth
    box, name = box_of(truth.boxes, row), matching.class_names[truth.labels[row] - 1]
    picture = int(truth.picture[row])
    place = int(truth.place[row])
    return Example(matching.ids[picture], picture, kind, box, None, name, place, box, name, None)


def _false(matching: Matching, causes: Causes, kind: str, row: int) -> Example:
    found, truth, target = matching.found, matching.truth, int(causes.target[row])
    picture, names = int(found.picture[row]), matching.class_names
    head = (matching.ids[picture], picture, kind, box_of(found.boxes, row), float(found.scores[row]))
    name = names[found.labels[row] - 1]
    if target < 0:
        return Example(*head, name, None, None, None, None)
    iou = float((found.same_iou if found.same[row] == target else found.other_iou)[row])
    place, box = int(truth.place[target]), box_of(truth.boxes, target)
    return Example(*head, name, place, box, names[truth.labels[target] - 1], iou)
