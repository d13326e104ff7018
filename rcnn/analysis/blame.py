"""Which stage of a detector lost each object that it missed.

A missed object is put down to the last step that something on it reached. `docs/analysis.md` has the definitions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rcnn.analysis.examples import Box
from rcnn.methods.stages import Stages
from rcnn.sample import Sample

CAUSES = {
    "no anchor": "no anchor overlaps it by half: anchors of other sizes or ratios would",
    "anchor moved off": "an anchor did, but the RPN moved each to a box that does not",
    "low objectness": "a moved anchor did, but was not among the best of its level, or under the least objectness",
    "proposal too small": "it was among them, but its box was smaller than proposals may be",
    "proposal suppressed": "it was among them, but a better one of its level suppressed it",
    "proposal cut": "it was not suppressed, but not among the best of all levels",
    "not proposed": "no region from outside lies on it",
    "misclassified": "a region lay on it, but another class or the background scored higher",
    "bad box": "a region lay on it and its class scored enough, but the refined box overlaps it by less than half",
    "under threshold": "a region lay on it and its class scored highest there, but under the threshold",
    "suppressed": "class and box were right, but a better box of the class suppressed it",
    "cut": "class and box were right and not suppressed, but not among the best of the picture",
    "claimed": "it was detected, but the detection counts for another object that it overlaps",
}
"""Each cause in the order of the steps, and what it means; `no anchor` to `proposal cut` are the RPN's."""


@dataclass(frozen=True)
class Blame:
    """One missed object and where it was lost. Boxes in pixels of the original picture."""

    sample_id: str
    picture: int
    """The number of the sample, from 0."""
    truth: int
    """Where the object stands in its sample, from 0."""
    truth_box: Box
    name: str
    """Its class."""
    cause: str
    """One of CAUSES."""
    box: Box | None
    """The box that came furthest: an anchor, a proposal, or a refined region; None where there was none at all."""
    iou: float
    """Of that box and the object."""
    score: float | None
    """Of that box: the objectness of an anchor, else the score of the object's class."""
    instead: str | None
    """For `misclassified` the class that scored highest on that region, or `background`; else None."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return dict(vars(self))


@dataclass(frozen=True)
class StageBlame:
    """All missed objects of a data set, and how many each step lost."""

    score: float
    """From which a detection counts; the model's own threshold where that is higher."""
    objects: int
    """That count."""
    missed: tuple[Blame, ...]
    steps: tuple[str, ...]
    """The causes that there can be for this method, in the order of the steps."""

    @property
    def counts(self) -> dict[str, int]:
        """How many objects each cause lost, in the order of the steps."""
        return {cause: sum(blame.cause == cause for blame in self.missed) for cause in self.steps}

    def of(self, cause: str) -> tuple[Blame, ...]:
        """The objects that a cause lost, largest first."""

    def to_json(self, examples: int = 12) -> dict[str, Any]:
        """Plain values for a JSON file, with so many examples of each cause."""


def blame_missed(
    samples: Sequence[Sample], stages: Iterable[Stages], class_names: Sequence[str], score: float = 0.0
) -> StageBlame:
    """Put each missed object down to a step; `stages` holds those of each sample in turn, a picture at a time.

    `Detector.stages(samples)` makes them. `score` is the score from which a detection counts. Raises DataError where
    there are not as many stages as samples.
    """
