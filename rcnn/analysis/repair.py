"""AP after errors are repaired (TIDE, section 2.3)."""

import math
from collections.abc import Set

import numpy as np
from jaxtyping import Bool, Int64

from rcnn.analysis.average_precision import average_precision, by_score
from rcnn.analysis.causes import CLASSIFICATION, KINDS, LOCALISATION, MISSED, Causes
from rcnn.analysis.matching import Matching

CURABLE = (CLASSIFICATION, LOCALISATION)
"""A detection of these kinds becomes right; one of the others is removed."""


class Repairs:
    """AP at the matching's IoU, the mean over the classes that have objects, after kinds of errors are repaired."""

    def __init__(self, matching: Matching, causes: Causes) -> None:
        self.matching, self.causes = matching, causes
        truth, self.classes = matching.truth, len(matching.class_names)
        self.objects = np.bincount(truth.labels[truth.counts], minlength=self.classes + 1)

    def ap50(self, kinds: Set[str] = frozenset()) -> float:
        """After these kinds are repaired, all at once.

        A detection whose class or box was the trouble is given that of its object, if no detection has found it; of
        several for one object the best is, and the others are removed. Missed objects do not count any more.
        """
        right, keep, labels = self._repaired(kinds)
        missed = np.bincount(self.matching.truth.labels[self.causes.missed], minlength=self.classes + 1)
        return self._mean(right, keep, labels, self.objects - missed if MISSED in kinds else self.objects)

    def without_false(self) -> float:
        """After all false detections are removed."""
        found = self.matching.found
        return self._mean(found.right, found.right, found.labels, self.objects)

    def without_missed(self) -> float:
        """If no object counted that was not found."""
        found, truth = self.matching.found, self.matching.truth
        hits = np.bincount(truth.labels[truth.counts & truth.found], minlength=self.classes + 1)
        return self._mean(found.right, found.counts, found.labels, hits)

    def _repaired(self, kinds: Set[str]) -> tuple[Bool[np.ndarray, "D"], Bool[np.ndarray, "D"], Int64[np.ndarray, "D"]]:
        """Which detections are right, which take part, and their classes."""
        found, truth, causes = self.matching.found, self.matching.truth, self.causes
        touched = np.isin(causes.kind, [KINDS.index(kind) for kind in kinds if kind != MISSED])
        curable = np.isin(causes.kind, [KINDS.index(kind) for kind in kinds if kind in CURABLE])
        rows = np.flatnonzero(curable & ~np.append(truth.found, True)[causes.target])
        rows = rows[by_score(found.scores[rows])]
        _, first = np.unique(causes.target[rows], return_index=True)
        right, keep, labels = found.right, found.counts & ~touched, found.labels.copy()
        cured = rows[first]
        right[cured] = keep[cured] = True
        labels[cured] = truth.labels[causes.target[cured]]
        return right, keep, labels

    def _mean(
        self,
        right: Bool[np.ndarray, "D"],
        keep: Bool[np.ndarray, "D"],
        labels: Int64[np.ndarray, "D"],
        objects: Int64[np.ndarray, "K1"],
    ) -> float:
        rows = np.flatnonzero(keep)
        rows = rows[by_score(self.matching.found.scores[rows])]
        right, labels = right[rows], labels[rows]
        present = [label for label in range(1, self.classes + 1) if self.objects[label]]
        values = [average_precision(right[labels == label], int(objects[label])) for label in present]
        return float(np.mean(values)) if values else math.nan
