"""Precision, recall and F1 of each class against the score from which detections are shown."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from rcnn.analysis.average_precision import RECALL_POINTS, by_score, interpolated
from rcnn.analysis.matching import Matching, reaches
from rcnn.evaluation.result import plain

SHOWN_SCORES = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class ClassCurve:
    """The detections of a class that count, best first, each right or false; difficult and crowd as COCO has it."""

    name: str
    objects: int
    """That count."""
    scores: Float64[np.ndarray, "N"]
    right: Bool[np.ndarray, "N"]

    @property
    def hits(self) -> Int64[np.ndarray, "N"]:
        """How many are right down to each."""
        return np.cumsum(self.right)

    @property
    def precision(self) -> Float64[np.ndarray, "N"]:
        """The share that is right of all down to each."""
        return self.hits / np.arange(1, len(self.right) + 1)

    @property
    def recall(self) -> Float64[np.ndarray, "N"]:
        """The share of the objects found down to each; NaN without objects."""
        return self.hits / self.objects if self.objects else np.full(len(self.right), math.nan)

    @property
    def f1(self) -> Float64[np.ndarray, "N"]:
        """The harmonic mean of precision and recall down to each."""
        return 2 * self.hits / (np.arange(1, len(self.right) + 1) + self.objects)

    @property
    def interpolated(self) -> Float64[np.ndarray, "101"]:
        """The highest precision at recall 0, 0.01 ... 1 or beyond; NaN without objects."""
        return interpolated(self.right, self.objects) if self.objects else np.full(len(RECALL_POINTS), math.nan)

    @property
    def ap50(self) -> float:
        """The mean of `interpolated`: what `rcnn evaluate` calls AP50."""
        return float(self.interpolated.mean())

    def shown(self, score: float) -> int:
        """How many detections have at least a score."""
        return int(reaches(self.scores, score).sum())

    def at(self, score: float) -> tuple[float, float, float]:
        """Precision, recall and F1 of the detections of at least a score; NaN where there is nothing to divide by."""
        shown = self.shown(score)
        hits = int(self.right[:shown].sum())
        return _share(hits, shown), _share(hits, self.objects), _share(2 * hits, shown + self.objects)

    @property
    def thresholds(self) -> Int64[np.ndarray, "M"]:
        """The last detection of each distinct score: those are the thresholds that can be told apart."""
        return np.flatnonzero(np.append(self.scores[1:] != self.scores[:-1], True)[: len(self.scores)])

    @property
    def best_score(self) -> float:
        """The threshold of the highest F1, the higher one of equals; NaN where nothing is right at any."""
        places = self.thresholds
        return float(self.scores[places[self.f1[places].argmax()]]) if self.right.any() else math.nan

    def to_json(self) -> dict[str, Any]:
        """Precision at the 101 recalls, and precision, recall and F1 at the scores 0, 0.01 ... 1."""
        shown = [[plain(value) for value in self.at(score)] for score in SHOWN_SCORES]
        by_recall = {"recall": RECALL_POINTS.tolist(), "precision": [plain(value) for value in self.interpolated]}
        names = ("precision", "recall", "F1")
        by_threshold = {
            "score": SHOWN_SCORES.tolist(),
            **dict(zip(names, map(list, zip(*shown, strict=True)), strict=True)),
        }
        head = {"name": self.name, "objects": self.objects, "detections": len(self.scores), "AP50": plain(self.ap50)}
        return head | {"best_score": plain(self.best_score), "by_recall": by_recall, "by_score": by_threshold}


def class_curves(matching: Matching) -> tuple[ClassCurve, ...]:
    """The curve of each class, in the order of the class names."""
    return tuple(_curve(matching, label) for label in range(1, len(matching.class_names) + 1))


def _curve(matching: Matching, label: int) -> ClassCurve:
    found, truth = matching.found, matching.truth
    rows = np.flatnonzero(found.counts & (found.labels == label))
    rows = rows[by_score(found.scores[rows])]
    objects = int((truth.counts & (truth.labels == label)).sum())
    return ClassCurve(matching.class_names[label - 1], objects, found.scores[rows], found.right[rows])


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
