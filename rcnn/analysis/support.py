"""How much the detections of a data set speak for each of its labels."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from rcnn.analysis.causes import BACKGROUND_IOU
from rcnn.analysis.matching import SIZES, Matching, reaches

TIGHT_IOU = 0.75


@dataclass(frozen=True)
class Support:
    """For each object; a detection speaks for the object that it overlaps most, of its own class and of the others."""

    own: Float64[np.ndarray, "G"]
    """The best score of a detection of its class that overlaps it by at least half; 0 where there is none."""
    any: Float64[np.ndarray, "G"]
    """The best score of a detection of any class that overlaps it by at least 0.1."""
    tight: Bool[np.ndarray, "G"]
    """Whether a confident detection of its class overlaps it by at least 0.75."""
    usual: Float64[np.ndarray, "G"]
    """Of the other objects of its class and size the share for which a confident detection of their class speaks;
    two more are counted, one of them spoken for, so that few objects say little."""


def support_of(matching: Matching, confident: float) -> Support:
    """What speaks for each object; a detection is confident from that score up."""
    found, truth, count = matching.found, matching.truth, len(matching.truth.labels)
    tight = _best(found.scores, found.same, found.same_iou >= TIGHT_IOU, count)
    own = _best(found.scores, found.same, found.same_iou >= matching.iou, count)
    near_same = _best(found.scores, found.same, found.same_iou >= BACKGROUND_IOU, count)
    near_other = _best(found.scores, found.other, found.other_iou >= BACKGROUND_IOU, count)
    group = truth.labels * len(SIZES) + truth.size
    return Support(
        own, np.maximum(near_same, near_other), reaches(tight, confident), _usual(group, truth.counts, own, confident)
    )


def _best(
    scores: Float64[np.ndarray, "D"], rows: Int64[np.ndarray, "D"], speaks: Bool[np.ndarray, "D"], count: int
) -> Float64[np.ndarray, "G"]:
    best = np.zeros(count)
    np.maximum.at(best, rows[speaks], scores[speaks])
    return best


def _usual(
    group: Int64[np.ndarray, "G"], counts: Bool[np.ndarray, "G"], own: Float64[np.ndarray, "G"], confident: float
) -> Float64[np.ndarray, "G"]:
    length = int(group.max(initial=0)) + 1
    total = np.bincount(group[counts], minlength=length)
    supported = np.bincount(group[counts & reaches(own, confident)], minlength=length)
    others, spoken_for = total[group] - counts, supported[group] - (counts & reaches(own, confident))
    return (spoken_for + 1) / (others + 2)
