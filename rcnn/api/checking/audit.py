"""The recall that anchors can reach before any training, and anchors that reach more where it is low."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from rcnn.api.checking.better_anchors import Shapes, better_anchors
from rcnn.api.checking.boxes import InputBoxes
from rcnn.api.checking.reach import cells_of, reach
from rcnn.config import Config

LOW_HALF, LOW_POSITIVE = 0.95, 0.8
"""Recall at IoU 0.5, and at the IoU from which an anchor is positive, under which better anchors are proposed."""

WORTH = 0.02
"""By how much the mean of both must rise, or the proposal is not worth a word."""

SMALL, MEDIUM = 32, 96
"""Sides of the squares up to which COCO calls an object small, or medium; here in pixels of the resized picture."""


@dataclass(frozen=True)
class Recall:
    """Of some objects, the parts whose best anchor overlaps them so much."""

    objects: int
    positive: float
    """At the IoU from which an anchor is positive."""
    half: float
    """At IoU 0.5."""
    mean_iou: float


Groups = dict[str, Recall]


@dataclass(frozen=True)
class Audit:
    """What the anchors of some settings reach, of all objects, per size and per class."""

    positive_iou: float
    anchors: Shapes
    all: Recall
    sizes: Groups
    classes: Groups
    proposed: "Audit | None" = None
    """The same for better anchors, if recall is low and there are any."""

    @property
    def settings(self) -> tuple[str, str]:
        """The anchors as words of a command line behind --set."""
        sizes = json.dumps([list(map(_short, row)) for row in self.anchors.sizes], separators=(",", ":"))
        ratios = json.dumps(list(map(_short, self.anchors.ratios)), separators=(",", ":"))
        return f"model.rpn.anchor_sizes={sizes}", f"model.rpn.anchor_ratios={ratios}"

    def to_json(self) -> dict[str, Any]:
        """For `rcnn check --json`."""
        return {
            "positive_iou": self.positive_iou,
            "anchor_sizes": [list(row) for row in self.anchors.sizes],
            "anchor_ratios": list(self.anchors.ratios),
            "settings": list(self.settings),
            "all": asdict(self.all),
            "by_size": {name: asdict(recall) for name, recall in self.sizes.items()},
            "by_class": {name: asdict(recall) for name, recall in self.classes.items()},
            "proposed": self.proposed.to_json() if self.proposed else None,
        }


def audit(found: InputBoxes, config: Config, fit: InputBoxes | None = None) -> Audit | None:
    """The reach of a configuration's anchors; None for a method without any, or data without objects.

    Better anchors are searched for on the objects to `fit`, those that will be learned, all unless given.
    """
    if config.model.method != "faster-rcnn" or not found.counted.any():
        return None
    anchors = Shapes(config.model.rpn.anchor_sizes, config.model.rpn.anchor_ratios)
    threshold, cells = config.model.rpn.positive_iou, cells_of(config)
    here = reach(found, config, cells)
    now = _measured(here.found, here.best(anchors.sizes, anchors.ratios), anchors, threshold)
    if now.all.half >= LOW_HALF and now.all.positive >= LOW_POSITIVE:
        return now
    teachers = reach(fit, config, cells) if fit is not None and fit.counted.any() else here
    better = better_anchors(teachers, anchors, threshold)
    then = _measured(here.found, here.best(better.sizes, better.ratios), better, threshold)
    gain = (then.all.half + then.all.positive - now.all.half - now.all.positive) / 2
    return replace(now, proposed=then) if gain >= WORTH else now


def groups_of(sides: Float[np.ndarray, "G"]) -> dict[str, Bool[np.ndarray, "G"]]:
    """Which objects are small, medium and large."""
    small, large = sides < SMALL, sides >= MEDIUM
    return {"small": small, "medium": ~small & ~large, "large": large}


def _measured(found: InputBoxes, best: Float[np.ndarray, "G"], anchors: Shapes, threshold: float) -> Audit:
    names = np.array(found.names)

    def recall(rows: Bool[np.ndarray, "G"]) -> Recall:
        ious = best[rows]
        return Recall(len(ious), *(float(part.mean()) for part in (ious >= threshold, ious >= 0.5, ious)))

    sizes = {name: recall(rows) for name, rows in groups_of(found.sides).items() if rows.any()}
    classes = {name: recall(names == name) for name in sorted(set(found.names))}
    return Audit(threshold, anchors, recall(np.ones(len(best), bool)), sizes, classes)


def _short(number: float) -> float | int:
    return int(number) if number == int(number) else number
