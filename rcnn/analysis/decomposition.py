"""Where AP at IoU 0.5 is lost: each false detection and each missed object has one cause, each cause a price.

After TIDE (Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020).
`docs/analysis.md` has the definitions.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from rcnn.analysis.causes import KINDS, MISSED, Causes, find_causes
from rcnn.analysis.examples import Example, examples_of
from rcnn.analysis.matching import SIZES, Matching
from rcnn.analysis.repair import Repairs
from rcnn.evaluation.result import plain

__all__ = ["KINDS", "Decomposition", "ErrorKind", "Example", "decompose"]


@dataclass(frozen=True)
class ErrorKind:
    """One kind of error: how often, and what AP would gain without it alone."""

    kind: str
    """One of KINDS."""
    count: int
    dap50: float
    """The mean over the classes of AP50 after the repair, less AP50: never below 0; NaN without objects."""
    by_size: dict[str, int]
    """How many concern a small, medium, large object; a detection of no object goes by its own area."""
    by_class: dict[str, int]
    """How many concern each class: the predicted one of a detection, the true one of a missed object."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        head = {"kind": self.kind, "count": self.count, "dAP50": plain(self.dap50)}
        return head | {"by_size": self.by_size, "by_class": self.by_class}


@dataclass(frozen=True)
class Decomposition:
    """AP50 and what it loses to each kind of error."""

    ap50: float
    """As `rcnn evaluate` has it; NaN without objects."""
    kinds: tuple[ErrorKind, ...]
    """In the order of KINDS."""
    false_positives: float
    """What AP50 would gain without any false detection."""
    false_negatives: float
    """What it would gain if objects that were not found did not count."""
    chain: tuple[float, ...]
    """AP50 after the first kind is repaired, after the second too, ...: it never falls, and the last is exactly 1."""
    matching: Matching
    causes: Causes

    def of(self, kind: str) -> ErrorKind:
        """The numbers of a kind of error."""
        return self.kinds[KINDS.index(kind)]

    def worst(self, kind: str, count: int = 12) -> list[Example]:
        """The worst errors of a kind: false detections by score, missed objects by area, highest first."""
        return examples_of(self.matching, self.causes, kind, count)

    def to_json(self, examples: int = 0) -> dict[str, Any]:
        """Plain values for a JSON file, with so many examples of each kind."""
        kinds = [one.to_json() | {"worst": [e.to_json() for e in self.worst(one.kind, examples)]} for one in self.kinds]
        special = {"false_positives": plain(self.false_positives), "false_negatives": plain(self.false_negatives)}
        chain = dict(zip(KINDS, map(plain, self.chain), strict=True))
        return {"AP50": plain(self.ap50), "kinds": kinds, "dAP50": special, "AP50_after_repairing_up_to": chain}


def decompose(matching: Matching) -> Decomposition:
    """The causes of all errors and what each kind costs."""
    causes = find_causes(matching)
    repairs = Repairs(matching, causes)
    start = repairs.ap50()
    kinds = [_kind(matching, causes, kind, repairs.ap50({kind}) - start) for kind in KINDS]
    return Decomposition(
        ap50=start,
        kinds=tuple(kinds),
        false_positives=repairs.without_false() - start,
        false_negatives=repairs.without_missed() - start,
        chain=tuple(repairs.ap50(set(KINDS[: step + 1])) for step in range(len(KINDS))),
        matching=matching,
        causes=causes,
    )


def _kind(matching: Matching, causes: Causes, kind: str, gain: float) -> ErrorKind:
    found, truth = matching.found, matching.truth
    rows = np.flatnonzero(causes.of(kind))
    labels, sizes = (truth.labels, truth.size) if kind == MISSED else (found.labels, causes.size)
    by_size = np.bincount(sizes[rows], minlength=len(SIZES))
    by_class = np.bincount(labels[rows], minlength=len(matching.class_names) + 1)[1:]
    named = dict(zip(matching.class_names, by_class.tolist(), strict=True))
    return ErrorKind(kind, len(rows), gain, dict(zip(SIZES, by_size.tolist(), strict=True)), named)
