"""Which detections hit, decided once: averages over any choice of the pictures follow without matching again.

A detection is matched within its own picture, so what it hits does not depend on which other pictures are looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from rcnn.evaluation.coco import matched_pictures
from rcnn.evaluation.result import Protocol
from rcnn.evaluation.scenes import Scene
from rcnn.evaluation.voc import PASSING_IOU, rank_by_class

COCO_IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


@dataclass(frozen=True)
class ClassMatches:
    """The detections of one class in all pictures, best first."""

    pictures: Int64[np.ndarray, "N"]
    """The place of each one's picture."""
    scores: Float64[np.ndarray, "N"]
    hits: Bool[np.ndarray, "N T"]
    """Whether it hits an object, at each IoU threshold."""
    counts: Bool[np.ndarray, "N T"]
    """False where it lies on a difficult or crowd object, and is neither a hit nor false."""
    countable: Int64[np.ndarray, "P"]
    """Objects to be found in each picture."""


@dataclass(frozen=True)
class Matches:
    """The matches of all classes under a protocol."""

    protocol: Protocol
    class_names: tuple[str, ...]
    ious: tuple[float, ...]
    """The thresholds T: ten for coco, one for voc07 and voc."""
    classes: tuple[ClassMatches, ...]
    pictures: int


def match(
    scenes: Sequence[Scene], class_names: tuple[str, ...], protocol: Protocol, max_detections: int = 100
) -> Matches:
    """Decide what every detection hits; `max_detections` of a class in a picture count under coco."""
    if protocol == "coco":
        return Matches(protocol, class_names, COCO_IOUS, _coco(scenes, class_names, max_detections), len(scenes))
    ranked = rank_by_class(scenes, len(class_names))
    classes = tuple(
        ClassMatches(of.pictures, of.scores, of.hit[:, None], np.ones((len(of.hit), 1), bool), countable)
        for of, countable in zip(ranked, _countable(scenes, len(class_names)), strict=True)
    )
    return Matches(protocol, class_names, (PASSING_IOU,), classes, len(scenes))


def _coco(scenes: Sequence[Scene], class_names: tuple[str, ...], cap: int) -> tuple[ClassMatches, ...]:
    by_class: dict[int, list[dict[str, Any]]] = {label: [] for label in range(1, len(class_names) + 1)}
    for each in matched_pictures(scenes, class_names, cap):
        by_class[each["category_id"]].append(each)
    countable = _countable(scenes, len(class_names))
    return tuple(_one_class(parts, row) for parts, row in zip(by_class.values(), countable, strict=True))


def _one_class(parts: list[dict[str, Any]], countable: Int64[np.ndarray, "P"]) -> ClassMatches:
    """The class's detections in all pictures: those of equal score stay in the order of the pictures, as in COCO."""
    parts = sorted(parts, key=lambda part: part["image_id"])
    scores = np.concatenate([np.zeros(0), *(part["dtScores"] for part in parts)])
    places = [np.full(len(part["dtScores"]), part["image_id"] - 1) for part in parts]
    hits, ignored = (_flags(parts, name) for name in ("dtMatched", "dtIgnore"))
    order = np.argsort(-scores, kind="stable")
    pictures = np.concatenate([np.zeros(0, np.int64), *places])
    return ClassMatches(pictures[order], scores[order], (hits & ~ignored)[order], ~ignored[order], countable)


def _flags(parts: list[dict[str, Any]], name: str) -> Bool[np.ndarray, "N T"]:
    rows = [np.array(part[name], bool).reshape(len(COCO_IOUS), -1).T for part in parts]
    return np.concatenate([np.zeros((0, len(COCO_IOUS)), bool), *rows])


def _countable(scenes: Sequence[Scene], classes: int) -> Int64[np.ndarray, "K P"]:
    """Objects of each class in each picture, without those that do not count."""
    rows = [np.bincount(s.labels[~(s.difficult | s.crowd)], minlength=classes + 1)[1:] for s in scenes]
    return np.array(rows, np.int64).reshape(len(scenes), classes).T.copy()
