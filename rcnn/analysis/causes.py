"""The cause of each false detection and of each missed object (TIDE, section 2.2)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from rcnn.analysis.matching import Matching, size_of

BACKGROUND_IOU = 0.1
CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, MISSED = KINDS = (
    "classification",
    "localisation",
    "both",
    "duplicate",
    "background",
    "missed",
)
_FALSE = -1


@dataclass(frozen=True)
class Causes:
    """One kind of error for each detection that is false and each object that is missed."""

    kind: Int64[np.ndarray, "D"]
    """The place in KINDS; -1 for a detection that is right or dropped."""
    target: Int64[np.ndarray, "D"]
    """The object that a false detection concerns: the one that it should have been, or nearly was; -1 for none."""
    size: Int64[np.ndarray, "D"]
    """The place in SIZES of that object, or of the detection itself."""
    missed: Bool[np.ndarray, "G"]
    """True for an object that was not found, and that repairing no detection's class or box would find."""

    def of(self, kind: str) -> Bool[np.ndarray, "_"]:
        """Which detections, or for `missed` which objects, are of a kind."""
        return self.missed if kind == MISSED else self.kind == KINDS.index(kind)


def find_causes(matching: Matching) -> Causes:
    """The first that is true, f the matching's IoU: an object of its class overlapped by 0.1 to f: localisation; one
    of another class by f or more: classification; one of its class by f or more, which is taken: duplicate; one of
    another class by more than 0.1: both; else background.
    """
    found, truth, enough = matching.found, matching.truth, min(matching.iou, 1 - 1e-10)
    near_same = (found.same_iou >= BACKGROUND_IOU) & (found.same_iou < enough)
    tests = {
        LOCALISATION: (near_same, found.same),
        CLASSIFICATION: (found.other_iou >= enough, found.other),
        DUPLICATE: (found.same_iou >= enough, found.same),
        BOTH: (found.other_iou > BACKGROUND_IOU, found.other),
        BACKGROUND: (np.ones(len(found.labels), bool), np.full(len(found.labels), -1)),
    }
    first = np.select([test for test, _ in tests.values()], [KINDS.index(kind) for kind in tests], _FALSE)
    target = np.select([test for test, _ in tests.values()], [rows for _, rows in tests.values()], -1)
    kind, target = np.where(found.wrong, first, -1), np.where(found.wrong, target, -1)
    own = (found.boxes[:, 2:] - found.boxes[:, :2]).prod(axis=1)
    area = np.where(target >= 0, np.append(truth.area, 0)[target], own)
    curable = np.isin(kind, (KINDS.index(CLASSIFICATION), KINDS.index(LOCALISATION)))
    missed = truth.missed
    missed[target[curable]] = False
    return Causes(kind, target, size_of(area), missed)
