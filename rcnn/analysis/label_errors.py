"""Labels that a detector contradicts, the most suspicious first: what to look at before training again.

A detector that is right against a label looks false to every measure. Confident contradictions are therefore worth a
look; each gets a suspicion from 0 to 1, and all kinds stand in one list. `docs/analysis.md` has the definitions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64

from rcnn.analysis.causes import BACKGROUND_IOU
from rcnn.analysis.examples import Box, box_of
from rcnn.analysis.matching import Matching, reaches
from rcnn.analysis.support import Support, support_of
from rcnn.ops import nms

MISSING, LOOSE, WRONG_CLASS, SPURIOUS = SUSPICIONS = ("missing", "loose", "wrong class", "spurious")
LEAST_SCORE = 0.5
"""Of a detection that may contradict a label."""
LOOSE_IOU = 0.75
"""A box that a confident detection overlaps by less may be drawn badly."""
WRONG_CLASS_IOU = 0.7
RATE = 0.02
"""Of labels that stand for nothing, before anything is known."""
LEAST_SUPPORT = 0.1
"""An object is unsupported where no detection of at least this score is near it."""


@dataclass(frozen=True)
class Suspect:
    """One label that may be wrong, or be missing. Boxes in pixels of the original picture."""

    kind: str
    """One of SUSPICIONS."""
    suspicion: float
    """From 0 to 1; the list goes by it."""
    sample_id: str
    picture: int
    """The number of the sample, from 0."""
    box: Box
    """The detection's; the label's own where no detection is near (`spurious`)."""
    score: float | None
    """The detection's; None where there is none."""
    name: str
    """The class of the detection; of the label where there is none."""
    truth: int | None
    """Where the label stands in its sample, from 0; None where it is missing."""
    truth_box: Box | None
    truth_name: str | None
    iou: float | None
    """Of detection and label."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return dict(vars(self))


def suspected_label_errors(matching: Matching, least_score: float = LEAST_SCORE) -> tuple[Suspect, ...]:
    """All suspects, each label once, at its highest suspicion, the most suspicious first.

    Detections from `least_score` up may contradict labels. Difficult objects and crowds are no suspects, and no label
    is missing where they are.
    """
    support = support_of(matching, least_score)
    rows = [*_missing(matching, least_score), *_spurious(matching, support)]
    rows += _loose(matching, support, least_score)
    rows += _wrong_class(matching, support, least_score)
    rows.sort(key=lambda row: -row.suspicion)
    return tuple(_first_of_each_label(rows))


def _first_of_each_label(rows: list[Suspect]) -> Iterator[Suspect]:
    seen: set[tuple[int, int]] = set()
    for row in rows:
        if row.truth is None or (row.picture, row.truth) not in seen:
            yield row
        if row.truth is not None:
            seen.add((row.picture, row.truth))


def _missing(matching: Matching, least_score: float) -> Iterator[Suspect]:
    """Confident detections near no object; of several in one place the best."""
    found = matching.found
    near = np.maximum(np.maximum(found.same_iou, found.other_iou), found.ignored_iou)
    rows = np.flatnonzero(reaches(found.scores, least_score) & (near < BACKGROUND_IOU))
    alone = _best_of_place(found.boxes[rows], found.scores[rows], found.picture[rows])
    for row in rows[alone].tolist():
        yield _suspect(matching, MISSING, float(found.scores[row]), row, -1, None)


def _loose(matching: Matching, support: Support, least_score: float) -> Iterator[Suspect]:
    """Objects found by a confident detection of little overlap, and by none of more."""
    found = matching.found
    loose = found.right & reaches(found.scores, least_score) & (found.same_iou < LOOSE_IOU)
    for row in np.flatnonzero(loose & (found.truth == found.same) & ~_at(support.tight, found.same)).tolist():
        iou = float(found.same_iou[row])
        yield _suspect(matching, LOOSE, float(found.scores[row]) * 2 * (1 - iou), row, int(found.same[row]), iou)


def _wrong_class(matching: Matching, support: Support, least_score: float) -> Iterator[Suspect]:
    """Objects under a confident detection of another class, which has none of its own there."""
    found = matching.found
    alone = (found.same_iou < matching.iou) & (found.other_iou >= WRONG_CLASS_IOU)
    suspicion = found.scores * (1 - _at(support.own, found.other))
    for row in np.flatnonzero(alone & reaches(found.scores, least_score) & (suspicion > 0)).tolist():
        iou = float(found.other_iou[row])
        yield _suspect(matching, WRONG_CLASS, float(suspicion[row]), row, int(found.other[row]), iou)


def _spurious(matching: Matching, support: Support) -> Iterator[Suspect]:
    """Objects that nothing was found near, though others of their class and size are mostly found.

    By Bayes' rule: nothing is found near a wrong label; near a sound one as often as others like it are not found.
    """
    truth = matching.truth
    unluckily = (1 - RATE) * (1 - support.usual)
    suspicion = RATE / (RATE + unluckily) * (1 - support.any)
    rows = np.flatnonzero(truth.counts & (support.any < LEAST_SUPPORT) & (support.usual > 0.5))
    for row in rows.tolist():
        picture, name = int(truth.picture[row]), matching.class_names[truth.labels[row] - 1]
        box = box_of(truth.boxes, row)
        head = (SPURIOUS, float(suspicion[row]), matching.ids[picture], picture)
        yield Suspect(*head, box, None, name, int(truth.place[row]), box, name, None)


def _suspect(matching: Matching, kind: str, suspicion: float, row: int, target: int, iou: float | None) -> Suspect:
    found, truth, names = matching.found, matching.truth, matching.class_names
    picture = int(found.picture[row])
    head = (kind, suspicion, matching.ids[picture], picture, box_of(found.boxes, row), float(found.scores[row]))
    name = names[found.labels[row] - 1]
    if target < 0:
        return Suspect(*head, name, None, None, None, iou)
    label = names[truth.labels[target] - 1]
    return Suspect(*head, name, int(truth.place[target]), box_of(truth.boxes, target), label, iou)


def _at(values: np.ndarray, rows: Int64[np.ndarray, "D"]) -> np.ndarray:
    """The value of each row; that of nothing is zero."""
    return np.append(values, np.zeros(1, values.dtype))[rows]


def _best_of_place(
    boxes: Float64[np.ndarray, "N 4"], scores: Float64[np.ndarray, "N"], picture: Int64[np.ndarray, "N"]
) -> Int64[np.ndarray, "M"]:
    """Those that no better one of the same picture overlaps by more than half."""
    rows, values, groups = (torch.from_numpy(part)[None] for part in (boxes, scores, picture))
    kept, filled = nms(rows, values, groups, torch.ones_like(groups, dtype=torch.bool), 0.5, len(boxes))
    return kept[filled].numpy()
