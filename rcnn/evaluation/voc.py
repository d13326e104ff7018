"""Average precision as Pascal VOC defines it (development kits of 2007 and 2012, VOCevaldet)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64

from rcnn import boxes as box_ops
from rcnn.evaluation.result import PerClass
from rcnn.evaluation.scenes import Scene

PASSING_IOU = 0.5
"""The papers say "exceeds 0.5"; the development kit accepts 0.5 itself."""

Average = Callable[[Bool[np.ndarray, "N"], int], float]
"""Average precision of detections, best first, each a hit or not, of one class with so many countable boxes."""


def score_voc(scenes: Sequence[Scene], class_names: tuple[str, ...], average: Average) -> PerClass:
    """The average precision of each class; NaN for a class without countable truth."""
    countable = [scene.labels[~(scene.difficult | scene.crowd)] for scene in scenes]
    totals = np.bincount(np.concatenate([*countable, np.zeros(0, np.int64)]), minlength=len(class_names) + 1)[1:]
    ranked = rank_by_class(scenes, len(class_names))
    averages = [
        average(of.hit, int(total)) if total else float("nan") for of, total in zip(ranked, totals, strict=True)
    ]
    return {name: {"AP": value} for name, value in zip(class_names, averages, strict=True)}


def eleven_points(hit: Bool[np.ndarray, "N"], countable: int) -> float:
    """VOC 2007: the mean over recall 0, 0.1 ... 1 of the highest precision at that recall or beyond.

    Recall is compared in whole numbers of boxes, so 3 of 10 boxes do reach recall 0.3.
    """
    tenths = np.arange(11) * countable
    needed = np.searchsorted(10 * np.cumsum(hit), tenths)
    return float(np.append(_envelope(hit), np.zeros(1))[needed].mean())


def area_under_curve(hit: Bool[np.ndarray, "N"], countable: int) -> float:
    """VOC 2010 and later: each hit adds 1 / `countable` of recall at the highest precision from there on."""
    return float(_envelope(hit)[hit].sum() / countable)


def _envelope(hit: Bool[np.ndarray, "N"]) -> Float64[np.ndarray, "N"]:
    """The highest precision at each detection or any later one."""
    precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
    return np.maximum.accumulate(precision[::-1])[::-1]


@dataclass(frozen=True)
class Ranked:
    """The detections of one class in all pictures, best first, those on difficult or crowd boxes left out."""

    pictures: Int64[np.ndarray, "N"]
    """The place of each one's picture."""
    scores: Float64[np.ndarray, "N"]
    hit: Bool[np.ndarray, "N"]


def rank_by_class(scenes: Sequence[Scene], classes: int) -> list[Ranked]:
    """What was found of each class, and which detections hit."""
    pictures, labels, scores, claims = _claims(scenes)
    order = np.lexsort((-scores, labels))
    pictures, labels, scores, claims = pictures[order], labels[order], scores[order], claims[order]
    # A box has one class, so the first of all that claim it is the best of its class.
    first = np.unique(claims, return_index=True)[1]
    hit = np.zeros(len(claims), bool)
    hit[first] = claims[first] >= 0
    ends = np.searchsorted(labels, np.arange(1, classes + 2)).tolist()
    parts = [slice(*pair) for pair in pairwise(ends)]
    return [Ranked(pictures[part], scores[part], hit[part]) for part in parts]


def _claims(
    scenes: Sequence[Scene],
) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "N"], Float64[np.ndarray, "N"], Int64[np.ndarray, "N"]]:
    """Pictures, labels, scores and claims of all detections that count, picture after picture.

    A claim is the number, over all pictures, of the true box that a detection lies on; -1 where it lies on none.
    """
    pictures, labels, claims = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    scores = [np.zeros(0)]
    offset = 0
    for place, scene in enumerate(scenes):
        best, passes = _best_boxes(scene)
        counts = np.ones(len(best), bool)
        counts[passes] = ~(scene.difficult | scene.crowd)[best[passes]]
        pictures.append(np.full(int(counts.sum()), place))
        labels.append(scene.found_labels[counts])
        scores.append(scene.found_scores[counts])
        claims.append(np.where(passes, best + offset, -1)[counts])
        offset += len(scene.labels)
    return np.concatenate(pictures), np.concatenate(labels), np.concatenate(scores), np.concatenate(claims)


def _best_boxes(scene: Scene) -> tuple[Int64[np.ndarray, "D"], Bool[np.ndarray, "D"]]:
    """For each detection the true box of its class with the highest IoU, claimed or not, and whether that is enough."""
    if not len(scene.labels) or not len(scene.found_labels):
        return np.zeros(len(scene.found_labels), np.int64), np.zeros(len(scene.found_labels), bool)
    iou = box_ops.iou(torch.from_numpy(scene.found_boxes), torch.from_numpy(scene.boxes)).numpy()
    iou[scene.found_labels[:, None] != scene.labels] = 0
    return iou.argmax(axis=1), iou.max(axis=1) >= PASSING_IOU
