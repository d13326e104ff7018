"""Which detection found which object, exactly as the COCO protocol says at one IoU: what every analysis starts from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64

from rcnn.analysis.matching_numba import assign, best_overlaps
from rcnn.compiled import compiled
from rcnn.evaluation.coco import LARGEST_AREA
from rcnn.evaluation.scenes import Scene, make_scenes
from rcnn.sample import Sample
from rcnn.structures import Detections

FOREGROUND_IOU = 0.5
MAX_DETECTIONS = 100
SIZES = ("small", "medium", "large")
"""Of an object, by its area: under 32 x 32 pixels, under 96 x 96, and beyond (COCO)."""
_SIZE_LIMITS = (32.0**2, 96.0**2)


@dataclass(frozen=True)
class Truth:
    """The objects of all pictures, picture after picture; one row each."""

    picture: Int64[np.ndarray, "G"]
    """The number of the sample, from 0."""
    place: Int64[np.ndarray, "G"]
    """Where the object stands in its sample, from 0."""
    boxes: Float64[np.ndarray, "G 4"]
    labels: Int64[np.ndarray, "G"]
    """1..K."""
    area: Float64[np.ndarray, "G"]
    crowd: Bool[np.ndarray, "G"]
    counts: Bool[np.ndarray, "G"]
    """False where it is difficult, a crowd, or of an impossible area: neither found nor missed."""
    detection: Int64[np.ndarray, "G"]
    """The row of the detection that found it; -1 where none did."""

    @property
    def found(self) -> Bool[np.ndarray, "G"]:
        """True where a detection found it."""
        return self.detection >= 0

    @property
    def missed(self) -> Bool[np.ndarray, "G"]:
        """True for an object that counts and was not found."""
        return self.counts & (self.detection < 0)

    @property
    def size(self) -> Int64[np.ndarray, "G"]:
        """The place of each object's size in SIZES."""
        return size_of(self.area)


@dataclass(frozen=True)
class Found:
    """The detections of all pictures, picture after picture, best first in each; one row each."""

    picture: Int64[np.ndarray, "D"]
    place: Int64[np.ndarray, "D"]
    """Where the detection stands in its picture's `Detections`, from 0."""
    boxes: Float64[np.ndarray, "D 4"]
    scores: Float64[np.ndarray, "D"]
    labels: Int64[np.ndarray, "D"]
    truth: Int64[np.ndarray, "D"]
    """The row of the object that it found; -1 where it found none."""
    counts: Bool[np.ndarray, "D"]
    """False where it lies on an object that does not count, and is dropped."""
    same: Int64[np.ndarray, "D"]
    """The row of the object of its own class that counts and that it overlaps most, found by another or not; or -1."""
    same_iou: Float64[np.ndarray, "D"]
    other: Int64[np.ndarray, "D"]
    """The same among the objects of all other classes."""
    other_iou: Float64[np.ndarray, "D"]
    ignored_iou: Float64[np.ndarray, "D"]
    """The largest overlap with an object that does not count; of a crowd, the share of the detection in it."""

    @property
    def right(self) -> Bool[np.ndarray, "D"]:
        """True where it counts as right."""
        return self.counts & (self.truth >= 0)

    @property
    def wrong(self) -> Bool[np.ndarray, "D"]:
        """True where it counts as false."""
        return self.counts & (self.truth < 0)


@dataclass(frozen=True)
class Matching:
    """Truth and detections of a data set, told who found whom."""

    truth: Truth
    found: Found
    ids: tuple[str, ...]
    """The id of each picture."""
    class_names: tuple[str, ...]
    iou: float


def match(
    samples: Sequence[Sample],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    iou: float = FOREGROUND_IOU,
    max_detections: int = MAX_DETECTIONS,
) -> Matching:
    """Hold detections against truth, both in pixels of the original picture; one `Detections` per sample.

    In each picture and class the best detection chooses first, and takes the object that is free and that it overlaps
    most; of the detections of one class in one picture the best `max_detections` take part. Raises DataError as
    `rcnn.evaluation.evaluate` does.
    """
    names = tuple(class_names)
    scenes = make_scenes(samples, detections, names)
    truth, found = _truth(scenes), _found(scenes, max_detections)
    taken = assigned(truth, found, len(scenes), iou, by_class=True)
    nearest = _nearest(truth, found, len(scenes))
    on_countable = np.append(truth.counts, False)[taken]
    counts = _counts(found, taken, on_countable)
    found = replace(found, **nearest, truth=np.where(on_countable, taken, -1), counts=counts)
    finder = np.full(len(truth.labels), -1)
    finder[found.truth[found.right]] = np.flatnonzero(found.right)
    return Matching(replace(truth, detection=finder), found, tuple(s.id for s in samples), names, iou)


def assigned(truth: Truth, found: Found, pictures: int, iou: float, by_class: bool) -> Int64[np.ndarray, "D"]:
    """The object that each detection takes, crowds and objects that do not count included; -1 for none."""
    order = _countable_first(truth)
    taken = np.full(len(found.labels), -1)
    columns = (truth.boxes[order], truth.labels[order], truth.counts[order], truth.crowd[order])
    starts = (_starts(found.picture, pictures), _starts(truth.picture, pictures))
    compiled(assign)(*starts, found.boxes, found.labels, *columns, min(iou, 1 - 1e-10), by_class, taken)
    return np.where(taken >= 0, np.append(order, -1)[taken], -1)


def reaches(scores: Float64[np.ndarray, "D"], score: float) -> Bool[np.ndarray, "D"]:
    """Which scores are at least `score`, in single precision: there 0.9 is a little less than in double."""
    return scores >= min(score, float(np.float32(score)))


def size_of(area: Float64[np.ndarray, "N"]) -> Int64[np.ndarray, "N"]:
    """The place in SIZES of an area in square pixels; one of exactly 32 x 32, which COCO counts as both, is medium."""
    return np.searchsorted(_SIZE_LIMITS, area, side="right")


def _countable_first(truth: Truth) -> Int64[np.ndarray, "G"]:
    return np.lexsort((~truth.counts, truth.picture))


def _counts(found: Found, taken: np.ndarray, on_countable: np.ndarray) -> Bool[np.ndarray, "D"]:
    """COCO drops, too, what found nothing and has an area beyond its ranges."""
    area = (found.boxes[:, 2:] - found.boxes[:, :2]).prod(axis=1)
    return on_countable | ((taken < 0) & (area >= 0) & (area <= LARGEST_AREA))


def _nearest(truth: Truth, found: Found, pictures: int) -> dict[str, np.ndarray]:
    count = len(found.labels)
    rows, ious = np.full((3, count), -1), np.zeros((3, count))
    starts = (_starts(found.picture, pictures), _starts(truth.picture, pictures))
    columns = (found.boxes, found.labels, truth.boxes, truth.labels, truth.counts, truth.crowd)
    compiled(best_overlaps)(*starts, *columns, rows, ious)
    overlaps = {"same_iou": ious[0], "other_iou": ious[1], "ignored_iou": ious[2]}
    return {"same": rows[0], "other": rows[1], **overlaps}


def _starts(picture: Int64[np.ndarray, "N"], pictures: int) -> Int64[np.ndarray, "_"]:
    """The first row of each picture, and the end."""
    return np.searchsorted(picture, np.arange(pictures + 1))


def _truth(scenes: Sequence[Scene]) -> Truth:
    lengths = [len(scene.labels) for scene in scenes]
    area = _below([scene.area for scene in scenes], float)
    crowd = _below([scene.crowd for scene in scenes], bool)
    difficult = _below([scene.difficult for scene in scenes], bool)
    return Truth(
        picture=np.repeat(np.arange(len(scenes)), lengths),
        place=_places(lengths),
        boxes=_below([scene.boxes for scene in scenes], float).reshape(-1, 4),
        labels=_below([scene.labels for scene in scenes], np.int64),
        area=area,
        crowd=crowd,
        counts=~(difficult | crowd) & (area >= 0) & (area <= LARGEST_AREA),
        detection=np.full(sum(lengths), -1),
    )


def _found(scenes: Sequence[Scene], max_detections: int) -> Found:
    lengths = [len(scene.found_labels) for scene in scenes]
    picture, place = np.repeat(np.arange(len(scenes)), lengths), _places(lengths)
    boxes = _below([scene.found_boxes for scene in scenes], float).reshape(-1, 4)
    scores = _below([scene.found_scores for scene in scenes], float)
    labels = _below([scene.found_labels for scene in scenes], np.int64)
    order = np.lexsort((-scores, picture))
    keep = order[_rank_in_class(picture[order], labels[order]) < max_detections]
    none, zero = np.full(len(keep), -1), np.zeros(len(keep))
    columns = (picture[keep], place[keep], boxes[keep], scores[keep], labels[keep])
    unmatched = {"truth": none, "same": none, "same_iou": zero, "other": none, "other_iou": zero, "ignored_iou": zero}
    return Found(*columns, counts=np.ones(len(keep), bool), **unmatched)


def _rank_in_class(picture: np.ndarray, labels: np.ndarray) -> Int64[np.ndarray, "D"]:
    """How many detections of the same picture and class come before each."""
    order = np.lexsort((labels, picture))
    keys = np.stack((picture[order], labels[order]))
    new = np.append(True, (keys[:, 1:] != keys[:, :-1]).any(axis=0))[: len(order)]
    first = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - first
    return rank


def _places(lengths: Sequence[int]) -> Int64[np.ndarray, "N"]:
    return _below([np.arange(length) for length in lengths], np.int64)


def _below(parts: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)
