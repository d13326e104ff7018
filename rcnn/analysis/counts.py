"""How much there is and how much of it is found, by class and size."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from rcnn.analysis.matching import SIZES, Matching, reaches
from rcnn.evaluation.result import plain


@dataclass(frozen=True)
class SizeCount:
    """Objects of a class and size (or of all classes, or sizes), and how many a detection of any score found."""

    name: str
    """The class, or `all`."""
    size: str
    """`small`, `medium`, `large`, or `all`."""
    objects: int
    found: int
    found_at_score: int
    """By detections of at least the report's score."""

    @property
    def recall(self) -> float:
        """The share that is found; NaN without objects."""
        return self.found / self.objects if self.objects else float("nan")

    @property
    def recall_at_score(self) -> float:
        """The share that is found at the report's score; NaN without objects."""
        return self.found_at_score / self.objects if self.objects else float("nan")

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return dict(vars(self)) | {"recall": plain(self.recall), "recall_at_score": plain(self.recall_at_score)}


@dataclass(frozen=True)
class Counts:
    """What was measured on, and what came out."""

    pictures: int
    empty: int
    """Pictures without any object."""
    objects: int
    """That count."""
    ignored: int
    """Difficult ones and crowds."""
    detections: int
    """Of any score, at most 100 of a class in a picture."""
    shown: int
    """Of at least the report's score."""
    score: float
    by_size: tuple[SizeCount, ...]
    """All classes and then each class, each of all sizes and then by size."""

    def of(self, name: str = "all", size: str = "all") -> SizeCount:
        """The count of a class and size."""
        return next(row for row in self.by_size if (row.name, row.size) == (name, size))

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return dict(vars(self)) | {"by_size": [row.to_json() for row in self.by_size]}


def count(matching: Matching, score: float = 0.5) -> Counts:
    """The counts; `score` is the score from which detections are shown."""
    truth, found = matching.truth, matching.found
    names = enumerate(("all", *matching.class_names))
    rows = [_row(matching, name, label, size, score) for label, name in names for size in ("all", *SIZES)]
    return Counts(
        pictures=len(matching.ids),
        empty=len(matching.ids) - len(np.unique(truth.picture)),
        objects=int(truth.counts.sum()),
        ignored=int((~truth.counts).sum()),
        detections=len(found.labels),
        shown=int(reaches(found.scores, score).sum()),
        score=score,
        by_size=tuple(rows),
    )


def _row(matching: Matching, name: str, label: int, size: str, score: float) -> SizeCount:
    truth = matching.truth
    rows = truth.counts & ((label == 0) | (truth.labels == label))
    if size != "all":
        rows = rows & (truth.size == SIZES.index(size))
    finders = truth.detection[rows & truth.found]
    at_score = int(reaches(matching.found.scores[finders], score).sum())
    return SizeCount(name, size, int(rows.sum()), len(finders), at_score)
