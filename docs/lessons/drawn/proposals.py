"""Who teaches the RPN and the head, and what comes out: labels, mini-batches, proposals, a class's boxes."""

import numpy as np
import torch
from drawn.anchors import SCENE
from drawn.drawing import GROUND, Drawn, numbers_table, percent
from drawn.lab import Lab
from torch import Tensor

from rcnn.anchors import Anchors
from rcnn.boxes import decode, inside
from rcnn.build.training import stages
from rcnn.evaluation.recall import recall
from rcnn.matching import Matches, match
from rcnn.ops import nms
from rcnn.proposals.rpn import ProposalLimits, propose
from rcnn.report import diagrams as show
from rcnn.structures import Batch, Proposals, Targets
from rcnn.training.objectives import RoILoss, RPNLoss
from rcnn.training.sampling import draw_sample, with_truth
from rcnn.training.schemes import Learn

BEST = 0.05
"""Detections must score above it."""


def losses_of(lab: Lab) -> tuple[RPNLoss, RoILoss]:
    """How the lab's run learned: the constants of its two kinds of stages."""
    first, second = (stage for stage in stages(lab.model, lab.config)[:2] if isinstance(stage, Learn))
    return first.objective.loss, second.objective.loss  # type: ignore[return-value]


def matched(lab: Lab, batch: Batch, targets: Targets) -> tuple[Anchors, Tensor, Matches]:
    """The anchors of a picture, which of them may teach, and what each overlaps."""
    anchors = lab.model.rpn.anchors_of(lab.model.features(batch.images), batch)
    usable = anchors.inside(batch.sizes) & inside(anchors.boxes[None], batch.sizes)
    return anchors, usable, match(anchors.boxes[None], targets, usable=usable)


@torch.inference_mode()
def labels(lab: Lab) -> Drawn:
    """Positive, ignored and negative anchors of one scene."""
    truth = lab.batch([SCENE])
    anchors, usable, matches = matched(lab, truth.batch, truth.targets)
    rule = losses_of(lab)[0].sampling
    positive = usable & ((matches.iou >= rule.positive) | matches.best)
    negative = usable & (matches.iou < rule.negative) & ~positive
    groups = (
        ("positive", positive, show.BLUE, 1000),
        ("ignored", usable & ~positive & ~negative, show.GRAY, 90),
        ("negative", negative, show.VERMILLION, 60),
    )
    figure, axes = show.new_figure(1, 3, 9.2, 2.75)
    for axis, (name, chosen, colour, most) in zip(axes[0], groups, strict=True):
        place = chosen[0].nonzero()[:, 0]
        shown = place[torch.linspace(0, len(place) - 1, min(most, len(place))).long()]
        part = "" if len(shown) == len(place) else f", {len(shown)} of them shown"
        show.show_picture(axis, lab.picture(SCENE), f"{len(place):,} {name}{part}", GROUND)
        show.show_truth(axis, truth.targets.boxes[0][truth.targets.valid[0]].numpy())
        show.show_boxes(axis, anchors.boxes[shown].numpy(), colour, 1.6 if name == "positive" else 0.8)
    weak = int((positive & (matches.iou < rule.positive)).sum())
    return Drawn(
        figure,
        f"The labels of the anchors of one scene (dashes: true boxes). Of {int(usable.sum()):,} anchors that do not "
        f"cross the border, {int(positive.sum())} are positive, {weak} of them only because no other anchor overlaps "
        "some object more.",
    )


@torch.inference_mode()
def anchor_batch(lab: Lab) -> Drawn:
    """The anchors that one step of the RPN looks at."""
    truth = lab.batch([SCENE])
    anchors, usable, matches = matched(lab, truth.batch, truth.targets)
    loss = losses_of(lab)[0]
    chosen = draw_sample(matches, usable, truth.targets.keys, loss.sampling, stream=1)
    boxes, positive = anchors.boxes[chosen.index[0]], chosen.positive[0]
    negative = chosen.valid[0] & ~positive
    figure, axes = show.new_figure(1, 2, 7.6, 3.0)
    for axis, part, name, colour in zip(
        axes[0], (positive, negative), ("positive", "negative"), (show.BLUE, show.VERMILLION), strict=True
    ):
        show.show_picture(axis, lab.picture(SCENE), f"{int(part.sum())} {name} anchors", GROUND)
        show.show_truth(axis, truth.targets.boxes[0][truth.targets.valid[0]].numpy())
        show.show_boxes(axis, boxes[part].numpy(), colour, 1.0)
    return Drawn(
        figure,
        f"The mini-batch of one scene: {loss.sampling.count} anchors are wanted, at most half of them positive; there "
        f"are only {int(positive.sum())}, so negatives fill up. All others have no part in this step's loss.",
    )


@torch.inference_mode()
def region_batch(lab: Lab) -> Drawn:
    """The regions that one step of the head looks at."""
    truth = lab.batch([SCENE])
    proposals = lab.model.rpn(lab.model.features(truth.batch.images), truth.batch, ProposalLimits(2000, 200))
    rois, usable = with_truth(proposals, truth.targets)
    matches, rule = match(rois, truth.targets), losses_of(lab)[1].sampling
    chosen = draw_sample(matches, usable, truth.targets.keys, rule, stream=2)
    boxes, overlap = chosen.take(rois)[0], chosen.take(matches.iou)[0]
    positive, negative = chosen.positive[0], chosen.valid[0] & ~chosen.positive[0]
    near = negative & (overlap >= 0.1)
    figure, axes = show.new_figure(1, 3, 9.2, 2.75)
    parts = (
        ("foreground, IoU >= 0.5", positive, show.BLUE),
        ("background, IoU 0.1 to 0.5", near, show.ORANGE),
        ("background, IoU under 0.1", negative & ~near, show.VERMILLION),
    )
    for axis, (name, part, colour) in zip(axes[0], parts, strict=True):
        show.show_picture(axis, lab.picture(SCENE), f"{int(part.sum())} {name}", GROUND)
        show.show_truth(axis, truth.targets.boxes[0][truth.targets.valid[0]].numpy())
        show.show_boxes(axis, boxes[part].numpy(), colour, 1.0)
    return Drawn(
        figure,
        f"The {int(chosen.valid.sum())} regions drawn from {int(usable.sum())} candidates of one scene (proposals and "
        f"true boxes): at most {percent(rule.fraction)} foreground. The paper takes background from IoU 0.1 up only; "
        "this run, like later code, from 0.",
    )


@torch.inference_mode()
def suppression(lab: Lab) -> Drawn:
    """Proposals before and after NMS."""
    batch = lab.batch([SCENE]).batch
    before, after = (_proposed(lab, batch, threshold)[0] for threshold in (1.0, 0.7))
    figure, axes = show.new_figure(1, 3, 9.2, 2.75)
    truth = lab.batch([SCENE]).targets
    parts = (
        (f"the best 100 of {before.shape[0]:,}", before[:100], show.VERMILLION, 0.7),
        (f"the best 100 of the {after.shape[0]:,} left", after[:100], show.BLUE, 0.7),
        ("the best 12 of those", after[:12], show.BLUE, 1.4),
    )
    for axis, (name, boxes, colour, width) in zip(axes[0], parts, strict=True):
        show.show_picture(axis, lab.picture(SCENE), name, GROUND)
        show.show_truth(axis, truth.boxes[0][truth.valid[0]].numpy())
        show.show_boxes(axis, boxes.numpy(), colour, width)
    return Drawn(
        figure,
        "Left: before suppression the best proposals crowd around the few best objects. Middle and right: after NMS at "
        "IoU 0.7. The table: the share of all test objects that the best proposals cover at IoU 0.7.",
        _suppression_table(lab),
    )


def _proposed(lab: Lab, batch: Batch, threshold: float) -> list[Tensor]:
    """Each picture's proposals at an NMS threshold; 1 suppresses nothing."""
    features = lab.model.features(batch.images)
    logits, deltas = lab.model.rpn.head(features)
    limits = ProposalLimits(2000, 2000, nms=threshold)
    found = propose(logits, deltas, lab.model.rpn.anchors_of(features, batch), batch.sizes, limits)
    return [boxes[valid] for boxes, valid in zip(found.boxes, found.valid, strict=True)]


def _suppression_table(lab: Lab) -> str:
    samples, numbers = lab.data.splits["test"], (5, 10, 20, 50, 100, 300)
    rows = []
    for name, threshold in (("without NMS", 1.0), ("NMS 0.7", 0.7), ("NMS 0.5", 0.5)):
        found = [_proposed(lab, lab.batch([n]).batch, threshold)[0].numpy() for n in range(len(samples))]
        values = recall([sample.boxes for sample in samples], found, (0.7,), numbers)[:, 0]
        left = np.mean([len(boxes) for boxes in found])
        rows.append((name, f"{left:,.0f}", *(f"{value:.2f}" for value in values)))
    return numbers_table(("", "left a picture", *(f"best {number}" for number in numbers)), rows)


@torch.inference_mode()
def zero_score(lab: Lab) -> Drawn:
    """One class's boxes of one scene, and what becomes of each."""
    truth = lab.batch([SCENE])
    label = int(truth.targets.labels[0, 0])
    boxes, scores = class_boxes(lab, truth.batch, label)
    kept = _suppressed(boxes, scores, torch.ones_like(scores, dtype=torch.bool))
    first = _suppressed(boxes, scores, scores > BEST)
    found, idle = kept & (scores > BEST), kept & (scores <= BEST)
    assert torch.equal(found, first)  # the same detections in either order
    figure, axes = show.new_figure(1, 2, 8.2, 3.1, width_ratios=(1.1, 1))
    show.show_picture(axes[0, 0], lab.picture(SCENE), f'the boxes of class "{lab.data.class_names[label - 1]}"', GROUND)
    groups = (
        ("struck out by NMS", ~kept, show.GRAY, 0.5),
        ("kept by NMS, score <= 0.05", idle, show.VERMILLION, 0.9),
        ("detections", found, show.BLUE, 2.2),
    )
    order = scores.argsort(descending=True)
    for name, part, colour, width in groups:
        show.show_boxes(axes[0, 0], boxes[part].numpy(), colour, width)
        rank = part[order].nonzero()[:, 0]
        heights = scores[order][rank].clamp(min=1e-7)
        axes[0, 1].scatter(rank.numpy(), heights.numpy(), s=14, color=colour, label=name, linewidths=0)
    axes[0, 1].axhline(BEST, color="black", linewidth=0.8, linestyle=":")
    axes[0, 1].set(yscale="log", xlabel="boxes, best first", ylabel="score for the class")
    axes[0, 1].legend(fontsize=8, frameon=False)
    return Drawn(
        figure,
        f"{len(scores)} proposals of one scene, moved by the deltas of one class, in NMS at IoU 0.3 without any "
        f"threshold on the score: {int((~kept).sum())} are struck out by a better box, {int(idle.sum())} with a score "
        f"of at most {BEST} stay because no better box overlaps them, {int(found.sum())} are detections. Drop the low "
        "scores first and the same detections remain: make.py checks it.",
    )


def class_boxes(lab: Lab, batch: Batch, label: int) -> tuple[Tensor, Tensor]:
    """All proposals of a picture as boxes of one class, with the scores for it."""
    features = lab.model.features(batch.images)
    proposals: Proposals = lab.model.rpn(features, batch, lab.model.limits)
    scores, deltas = lab.model.head.predict(lab.model.describe(features, proposals.boxes))
    valid = proposals.valid[0]
    return decode(deltas[valid, label - 1], proposals.boxes[0][valid]), scores[valid, label - 1]


def _suppressed(boxes: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
    """Which boxes greedy suppression at IoU 0.3 keeps."""
    groups = torch.zeros(1, len(scores), dtype=torch.int64)
    index, kept = nms(boxes[None], scores[None], groups, valid[None], 0.3, len(scores))
    return torch.zeros_like(valid).scatter(0, index[0][kept[0]], True)
