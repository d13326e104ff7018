"""From which score to show each class, for a stated precision or recall."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rcnn.analysis.curves import ClassCurve
from rcnn.evaluation.result import plain
from rcnn.goal import Goal

FEW = 30
"""Detections: of 30 that are all true, a precision of 0.95 is not yet sure (95 % interval, Wilson: from 0.89)."""


@dataclass(frozen=True)
class Threshold:
    """The score from which a class is shown, and what holds from there on; NaN without objects or detections."""

    name: str
    score: float
    """NaN where no score reaches the goal."""
    precision: float
    recall: float
    """At that score; where none reaches the goal, at the score that comes nearest."""
    objects: int
    detections: int = 0
    """At that score or above: what precision is told from."""

    @property
    def reached(self) -> bool:
        """Whether some score reaches the goal."""
        return not np.isnan(self.score)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        numbers = {name: plain(getattr(self, name)) for name in ("score", "precision", "recall")}
        return numbers | {"objects": self.objects, "detections": self.detections}

    @property
    def rests_on_few(self) -> bool:
        """Whether so few detections stand behind it that other pictures may give quite another one."""
        return self.reached and self.detections < FEW


def thresholds_for(goal: Goal, curves: Sequence[ClassCurve]) -> tuple[Threshold, ...]:
    """For each class the lowest score from which precision is at least the goal's, so that most is found; for recall
    the highest score from which so much is found, so that least is false.
    """
    return tuple(_threshold(goal, curve) for curve in curves)


def _threshold(goal: Goal, curve: ClassCurve) -> Threshold:
    places = curve.thresholds
    if not len(places) or not curve.objects:
        return Threshold(curve.name, np.nan, np.nan, np.nan, curve.objects)
    values = (curve.precision if goal.quantity == "precision" else curve.recall)[places]
    enough = np.flatnonzero(values >= goal.value)
    if len(enough):
        chosen = enough[-1] if goal.quantity == "precision" else enough[0]
    else:  # of equals the one that finds most, or shows least that is false
        best = np.flatnonzero(values == values.max())
        chosen = best[-1] if goal.quantity == "precision" else best[0]
    place = places[chosen]
    score = float(curve.scores[place]) if len(enough) else np.nan
    there = float(curve.precision[place]), float(curve.recall[place])
    return Threshold(curve.name, score, *there, curve.objects, int(place) + 1)
