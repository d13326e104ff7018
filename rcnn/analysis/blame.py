"""Which stage of a detector lost each object that it missed.

A missed object is put down to the last step that something on it reached. `docs/analysis.md` has the definitions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from rcnn.analysis.confusion import BACKGROUND
from rcnn.analysis.examples import Box, box_of
from rcnn.analysis.matching import Matching, match
from rcnn.analysis.steps import lost_at
from rcnn.errors import DataError
from rcnn.methods.stages import Stages
from rcnn.sample import Sample
from rcnn.structures import unpad

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
"""Each cause in the order of the steps, and what it means."""
RPN_CAUSES = tuple(CAUSES)[: tuple(CAUSES).index("not proposed")]


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
    """The box that came furthest: an anchor as it was or as moved, or a region (`not proposed`), else a refined region;
    None where none touches the object."""
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
    """From which a detection counts, beside the model's own threshold."""
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
        return tuple(sorted((b for b in self.missed if b.cause == cause), key=lambda b: -_area(b.truth_box)))

    def to_json(self, examples: int = 12) -> dict[str, Any]:
        """Plain values for a JSON file, with so many examples of each cause."""
        worst = {cause: [blame.to_json() for blame in self.of(cause)[:examples]] for cause in self.steps}
        head = {"score": self.score, "objects": self.objects, "missed": len(self.missed)}
        return head | {"counts": self.counts, "worst": worst}


def blame_missed(
    samples: Sequence[Sample], stages: Iterable[Stages], class_names: Sequence[str], score: float = 0.0
) -> StageBlame:
    """Put each missed object down to a step; `stages` holds those of each sample in turn, a picture at a time.

    `Detector.stages(samples)` makes them. `score` is the score from which a detection counts. Raises DataError where
    there are not as many stages as samples.
    """
    names, objects, missed, steps = tuple(class_names), 0, [], tuple(CAUSES)
    for picture, (sample, one) in enumerate(zip_longest(samples, stages)):
        if sample is None or one is None:
            raise DataError(
                f"{len(samples)} samples, but stages of {'more' if sample is None else picture}; give one each"
            )
        (found,) = unpad(one.detections, names)
        matching = match([sample], [found.above(score)], names, max_detections=max(1, len(found)))
        objects += int(matching.truth.counts.sum())
        missed += [_blame(matching, one, picture, int(row), score) for row in np.flatnonzero(matching.truth.missed)]
        steps = _steps(one)
    return StageBlame(score, objects, tuple(missed), steps)


def _blame(matching: Matching, stages: Stages, picture: int, row: int, score: float) -> Blame:
    truth, names = matching.truth, matching.class_names
    label = int(truth.labels[row])
    lost = lost_at(stages, 0, truth.boxes[row], label, score)
    instead = None if lost.instead is None else (BACKGROUND, *names)[lost.instead]
    head = (matching.ids[0], picture, int(truth.place[row]), box_of(truth.boxes, row), names[label - 1])
    return Blame(*head, lost.cause, lost.box, lost.iou, lost.score, instead)


def _steps(stages: Stages) -> tuple[str, ...]:
    """The causes that there can be where regions come from the network itself, or from outside."""
    elsewhere = ("not proposed",) if stages.anchors is not None else RPN_CAUSES
    return tuple(cause for cause in CAUSES if cause not in elsewhere)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
