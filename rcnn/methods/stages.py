"""Every stage of a method on request: what was considered, what went on, and what was dropped where.

The same parts compute the same numbers as the forward pass; `stages(model, batch).detections` is `model(batch)`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils import _pytree as pytree

from rcnn.anchors import Anchors
from rcnn.boxes import clip, decode
from rcnn.heads.box_head import SVMHead
from rcnn.methods import RCNN, FasterRCNN, Method
from rcnn.postprocess import Postprocess, to_original
from rcnn.proposals.rpn import Ranked, propose, rank, smallest_sides, suppress
from rcnn.structures import Batch, PaddedDetections, Proposals


@dataclass(frozen=True)
class AnchorStage:
    """What the RPN makes of each anchor, level after level. Boxes in pixels of the original pictures.

    The masks are the steps that an anchor passes, each a part of the one before.
    """

    anchors: Float[Tensor, "B A 4"]
    moved: Float[Tensor, "B A 4"]
    """Moved by their deltas and clipped to the picture: what becomes a proposal."""
    objectness: Float[Tensor, "B A"]
    """From 0 to 1."""
    levels: Int[Tensor, "A"]
    usable: Bool[Tensor, "B A"]
    """Of a cell on the picture."""
    ranked: Bool[Tensor, "B A"]
    """Among the best `limits.before` of the level, and of the least objectness that the limits ask for."""
    large: Bool[Tensor, "B A"]
    """Moved to a box of the least side that the limits ask for: these enter suppression."""
    survives: Bool[Tensor, "B A"]
    """Not suppressed by a better one of the level."""
    kept: Bool[Tensor, "B A"]
    """Among the best `limits.after` of all levels: these are the proposals."""


@dataclass(frozen=True)
class RegionStage:
    """What the head makes of each region and class. Boxes in pixels of the original pictures; the masks as above."""

    scores: Float[Tensor, "B P K"]
    background: Float[Tensor, "B P"]
    """The score of none of the classes: their complement, for support vector machines that of the best."""
    boxes: Float[Tensor, "B P K 4"]
    """The regions as refined for each class, clipped."""
    above: Bool[Tensor, "B P K"]
    """Of a region that is no padding, and above the least score."""
    candidates: Bool[Tensor, "B P K"]
    """Among the best so many of the picture and class: these enter suppression."""
    survives: Bool[Tensor, "B P K"]
    """Not suppressed by a better one of the class."""
    kept: Bool[Tensor, "B P K"]
    """Among the best `detections` of the picture: these are found."""


@dataclass(frozen=True)
class Stages:
    """A forward pass, stage by stage. Boxes in pixels of the original pictures."""

    anchors: AnchorStage | None
    """None for a method whose regions come from outside."""
    proposals: Proposals
    regions: RegionStage
    detections: PaddedDetections


def stages(model: Method, batch: Batch) -> Stages:
    """The forward pass of a method with all that it considered; as long in memory as anchors and classes are many."""
    features = model.features(batch.images)
    anchors, proposals = None, batch.proposals
    if isinstance(model, FasterRCNN):
        anchors, proposals = _anchor_stage(model, features, batch)
    assert proposals is not None
    _, scores, deltas = scored(model, features, proposals)
    regions = _region_stage(model, proposals, scores, deltas, batch)
    detections = model.postprocess(proposals, scores, deltas, batch)
    in_pixels = Proposals(proposals.boxes * to_original(batch), proposals.scores, proposals.valid)
    return Stages(anchors, in_pixels, regions, detections)


def scored(
    model: Method, features: list[Tensor], proposals: Proposals
) -> tuple[Float[Tensor, "R C h w"], Float[Tensor, "N K"], Float[Tensor, "N K 4"]]:
    """What the head sees of each region, and the scores and plain deltas that it gives them.

    R-CNN's head sees some regions at a time, so that of it there is nothing to see afterwards (R is 0).
    """
    if isinstance(model, RCNN):
        return features[0][:0], *model.predict(features, proposals.boxes)
    pooled = model.describe(features, proposals.boxes)
    return pooled, *model.head.predict(pooled)


def _anchor_stage(model: FasterRCNN, features: list[Tensor], batch: Batch) -> tuple[AnchorStage, Proposals]:
    logits, deltas = (part.float() for part in model.rpn.head(features))
    grid, smallest = model.rpn.anchors_of(features, batch), smallest_sides(batch, model.limits)
    ranked = rank(logits, deltas, grid, batch.sizes, model.limits, smallest)
    proposals = propose(logits, deltas, grid, batch.sizes, model.limits, smallest)
    moved = _moved(grid, deltas, ranked, batch) * to_original(batch)
    usable, objectness = grid.inside(batch.sizes), logits.sigmoid()
    index, survives = suppress(ranked, model.limits, ranked.scores.shape[1])
    survivors = ranked.index.gather(1, index)
    kept = survives & (torch.arange(survives.shape[1], device=index.device) < model.limits.after)
    anchors = grid.boxes * to_original(batch)
    enough = usable & (objectness >= model.limits.score)
    return AnchorStage(
        anchors,
        moved,
        objectness,
        grid.levels(),
        usable,
        ranked=_marked(usable, ranked.index, torch.ones_like(ranked.valid)) & enough,
        large=_marked(usable, ranked.index, ranked.valid),
        survives=_marked(usable, survivors, survives),
        kept=_marked(usable, survivors, kept),
    ), proposals


def _moved(grid: Anchors, deltas: Float[Tensor, "B A 4"], ranked: Ranked, batch: Batch) -> Float[Tensor, "B A 4"]:
    """All anchors moved and clipped; those that were ranked to the bit as they were, for rounding may differ."""
    boxes = clip(decode(deltas, grid.boxes.expand_as(deltas)), batch.sizes)
    return boxes.scatter(1, ranked.index[..., None].expand_as(ranked.boxes), ranked.boxes)


def _region_stage(model: Method, proposals: Proposals, scores: Tensor, deltas: Tensor, batch: Batch) -> RegionStage:
    post, (pictures, count), classes = model.postprocess, proposals.valid.shape, scores.shape[1]
    scores = scores.reshape(pictures, count, classes)
    pairs = post.choose(proposals, scores.flatten(0, 1), deltas, batch)
    index, survives = post.suppress(pairs, pairs.scores.shape[1])
    survivors = pairs.pair.gather(1, index)
    kept = survives & (torch.arange(survives.shape[1], device=index.device) < post.detections)
    boxes = _refined(post, proposals, deltas, batch)
    boxes = boxes.scatter(1, pairs.pair[..., None].expand_as(pairs.boxes), pairs.boxes) * to_original(batch)
    above = (scores > post.score) & proposals.valid[..., None]
    masks = ((pairs.pair, pairs.valid), (survivors, survives), (survivors, kept))
    marked = (_marked(above.flatten(1), *mask).reshape(above.shape) for mask in masks)
    background = 1 - (scores.amax(-1) if isinstance(model.head, SVMHead) else scores.sum(-1))
    return RegionStage(scores, background, boxes.reshape(*above.shape, 4), above, *marked)


def _refined(
    post: Postprocess, proposals: Proposals, deltas: Float[Tensor, "N K 4"], batch: Batch
) -> Float[Tensor, "B M 4"]:
    pictures, count = proposals.valid.shape
    deltas = deltas.reshape(pictures, count, -1, 4)
    boxes = proposals.boxes[:, :, None].expand_as(deltas)
    return clip((decode(deltas, boxes) if post.refine else boxes).flatten(1, 2), batch.sizes)


def _marked(like: Bool[Tensor, "B N"], index: Int[Tensor, "B M"], flags: Bool[Tensor, "B M"]) -> Bool[Tensor, "B N"]:
    """True at every index whose flag is; an index may come twice."""
    return torch.zeros_like(like, dtype=torch.uint8).scatter_reduce(1, index, flags.byte(), "amax").bool()


for _structure in (AnchorStage, RegionStage, Stages):
    pytree.register_dataclass(_structure)
