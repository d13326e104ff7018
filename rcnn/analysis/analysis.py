"""Everything that follows from detections and truth, in one call."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rcnn.analysis.confusion import Confusion, confusion_matrix
from rcnn.analysis.counts import Counts, count
from rcnn.analysis.curves import ClassCurve, class_curves
from rcnn.analysis.decomposition import Decomposition, decompose
from rcnn.analysis.label_errors import Suspect, suspected_label_errors
from rcnn.analysis.matching import Matching, match
from rcnn.sample import Sample
from rcnn.structures import Detections


@dataclass(frozen=True)
class Analysis:
    """What a report says of detections."""

    matching: Matching
    counts: Counts
    curves: tuple[ClassCurve, ...]
    confusion: Confusion
    errors: Decomposition
    suspects: tuple[Suspect, ...]

    def to_json(self, examples: int = 12, suspects: int = 100) -> dict[str, Any]:
        """Plain values for a JSON file, with so many examples of each kind of error and so many suspects."""
        return {
            "counts": self.counts.to_json(),
            "curves": [curve.to_json() for curve in self.curves],
            "confusion": self.confusion.to_json(),
            "errors": self.errors.to_json(examples),
            "suspected_label_errors": [suspect.to_json() for suspect in self.suspects[:suspects]],
        }


def analyse(
    samples: Sequence[Sample], detections: Sequence[Detections], class_names: Sequence[str], score: float = 0.5
) -> Analysis:
    """Look at the detections of each sample, both in pixels of the original picture, in all ways there are.

    `score` is the score from which detections are shown: confusion and counts go by it. Raises DataError as
    `rcnn.evaluation.evaluate` does.
    """
    matching = match(samples, detections, class_names)
    return Analysis(
        matching,
        count(matching, score),
        class_curves(matching),
        confusion_matrix(matching, score),
        decompose(matching),
        suspected_label_errors(matching),
    )
