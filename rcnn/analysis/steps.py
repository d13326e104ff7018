"""The steps of a detector that an object passes, and the last that something on it reached."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from rcnn.analysis.examples import Box, box_of
from rcnn.analysis.matching import FOREGROUND_IOU
from rcnn.analysis.overlap import iou
from rcnn.methods.stages import AnchorStage, Stages


@dataclass(frozen=True)
class Lost:
    """Where an object was lost, and the box that came furthest."""

    cause: str
    box: Box | None
    iou: float
    score: float | None
    instead: int | None = None
    """The label that scored highest on the region, 0 the background; None where the class was not the trouble."""


@dataclass(frozen=True)
class _Boxes:
    """Boxes, how much each overlaps an object, and a score by which the best of them is told."""

    boxes: Float[np.ndarray, "N 4"]
    overlap: Float64[np.ndarray, "N"]
    scores: Float[np.ndarray, "N"]

    def lost(self, cause: str, row: int, instead: int | None = None) -> Lost:
        return Lost(cause, box_of(self.boxes, row), float(self.overlap[row]), float(self.scores[row]), instead)

    def best(self, cause: str, among: Bool[np.ndarray, "N"]) -> Lost:
        """Of some boxes the one of the highest score."""
        return self.lost(cause, int(np.where(among, self.scores, -np.inf).argmax()))

    def nearest(self, cause: str, among: Bool[np.ndarray, "N"]) -> Lost:
        """Of some boxes the one that overlaps the object most; nothing where none does."""
        row = int(np.where(among, self.overlap, 0).argmax()) if len(among) else 0
        return (
            self.lost(cause, row)
            if len(among) and among[row] and self.overlap[row] > 0
            else Lost(cause, None, 0.0, None)
        )


def lost_at(stages: Stages, picture: int, box: Float64[np.ndarray, "4"], label: int, score: float) -> Lost:
    """Why an object of a batch's picture was not found by the detections of at least `score`; see `blame.CAUSES`."""
    lost = _after_the_head(stages, picture, box, label, score) or _in_the_head(stages, picture, box, label)
    if lost is not None:
        return lost
    if stages.anchors is not None:
        return _in_the_rpn(stages.anchors, picture, box)
    valid, proposals = _rows(picture, stages.proposals.valid, stages.proposals.boxes)
    _, scores = _refined(stages, picture, label)
    return _Boxes(proposals, _overlap(box, proposals), scores).nearest("not proposed", valid)


def _after_the_head(
    stages: Stages, picture: int, box: Float64[np.ndarray, "4"], label: int, score: float
) -> Lost | None:
    """What befell the regions that scored enough for the object's class; None where none of them was on it."""
    regions = stages.regions
    steps = (regions.above, regions.candidates, regions.survives, regions.kept)
    above, *masks = (mask[:, label - 1] for mask in _rows(picture, *steps))
    refined, scores = _refined(stages, picture, label)
    one = _Boxes(refined, _overlap(box, refined), scores)
    scored = above & (scores >= score)
    right = scored & (one.overlap >= FOREGROUND_IOU)
    if right.any():
        lost = zip(("cut", "suppressed", "cut"), masks, strict=True)
        return one.best(next((cause for cause, mask in lost if not (right & mask).any()), "claimed"), right)
    (proposals,) = _rows(picture, stages.proposals.boxes)
    lies = scored & (_overlap(box, proposals) >= FOREGROUND_IOU)
    return one.best("bad box", lies) if lies.any() else None


def _in_the_head(stages: Stages, picture: int, box: Float64[np.ndarray, "4"], label: int) -> Lost | None:
    """Why no region on an object scored enough for its class; None where there was no region on it."""
    valid, proposals = _rows(picture, stages.proposals.valid, stages.proposals.boxes)
    refined, scores = _refined(stages, picture, label)
    one = _Boxes(refined, _overlap(box, refined), scores)
    on_it = valid & (np.maximum(one.overlap, _overlap(box, proposals)) >= FOREGROUND_IOU)
    if not on_it.any():
        return None
    row = int(np.where(on_it, scores, -1).argmax())
    background, classes = (part[row] for part in _rows(picture, stages.regions.background, stages.regions.scores))
    everything = np.append(background, classes)
    instead = int(everything.argmax())
    if everything[instead] > scores[row]:
        return one.lost("misclassified", row, instead)
    return one.lost("under threshold", row)


def _in_the_rpn(stage: AnchorStage, picture: int, box: Float64[np.ndarray, "4"]) -> Lost:
    """Why no proposal lies on an object."""
    anchors, moved, objectness = _rows(picture, stage.anchors, stage.moved, stage.objectness)
    usable, *masks = _rows(picture, stage.usable, stage.ranked, stage.large, stage.survives)
    before, after = (_Boxes(boxes, _overlap(box, boxes), objectness) for boxes in (anchors, moved))
    on_it = usable & (after.overlap >= FOREGROUND_IOU)
    if not on_it.any():
        reach = usable & (before.overlap >= FOREGROUND_IOU)
        if not reach.any():
            return before.nearest("no anchor", usable)
        return after.lost("anchor moved off", int(np.where(reach, after.overlap, -1).argmax()))
    for cause, mask in zip(("low objectness", "proposal too small", "proposal suppressed"), masks, strict=True):
        if not (on_it & mask).any():
            return after.best(cause, on_it)
        on_it &= mask
    return after.best("proposal cut", on_it)


def _refined(stages: Stages, picture: int, label: int) -> tuple[Float[np.ndarray, "P 4"], Float[np.ndarray, "P"]]:
    """Each region refined for a class, and its score."""
    boxes, scores = _rows(picture, stages.regions.boxes, stages.regions.scores)
    return boxes[:, label - 1], scores[:, label - 1]


def _overlap(box: Float64[np.ndarray, "4"], boxes: Float[np.ndarray, "N 4"]) -> Float64[np.ndarray, "N"]:
    return iou(box[None], boxes)[0]


def _rows(picture: int, *parts: Tensor) -> tuple[np.ndarray, ...]:
    return tuple(part[picture].numpy() for part in parts)
