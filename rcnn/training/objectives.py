"""What training minimises. An objective holds the model and meets a batch with its truth; the model never sees any."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rcnn.boxes import inside
from rcnn.losses import BoxLoss, ClassLoss, ObjectnessLoss, SmoothL1Boxes, class_loss, mean_over, objectness_loss
from rcnn.matching import Matches, Sampled, match
from rcnn.methods import FasterRCNN, Method
from rcnn.proposals.rpn import RPN, ProposalLimits
from rcnn.structures import Batch, Proposals, Targets, take
from rcnn.training.sampling import (
    Candidates,
    Choose,
    Costs,
    Sampling,
    at_random,
    draw_sample,
    object_weight,
    with_sides,
    with_truth,
)

Losses = dict[str, Float[Tensor, ""]]


@dataclass(frozen=True)
class RPNLoss:
    """How proposals are learned (Faster R-CNN, section 3.1.2).

    `balance` weighs the regression, whose sum is divided by the number of sampled anchors or, as the paper has it
    `per_position`, of cells. `border`: whether anchors that cross the picture's border take part.
    """

    sampling: Sampling = Sampling(count=256, fraction=0.5, positive=0.7, negative=0.3, best_match=True)
    scores: ObjectnessLoss = objectness_loss
    boxes: BoxLoss = SmoothL1Boxes()
    balance: float = 1.0
    per_position: bool = False
    border: bool = True
    train_difficult: bool = True


@dataclass(frozen=True)
class RoILoss:
    """How regions are learned (Fast R-CNN, section 2.3); `score` and `box` weigh the two tasks.

    `choose` takes the regions that are learned from, out of all.
    """

    sampling: Sampling = Sampling(count=512, fraction=0.25, positive=0.5, negative=0.5)
    scores: ClassLoss = class_loss
    boxes: BoxLoss = SmoothL1Boxes()
    score: float = 1.0
    box: float = 1.0
    train_difficult: bool = True
    choose: Choose = at_random


class RPNObjective(nn.Module):
    """Proposals alone: the first and third step of alternating training."""

    def __init__(self, model: FasterRCNN, loss: RPNLoss) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: Batch, targets: Targets) -> Losses:
        """The losses `rpn_score` and `rpn_box`; their sum is minimised."""
        return rpn_losses(self.model.rpn, self.model.features(batch.images), batch, targets, self.loss)


class RoIObjective(nn.Module):
    """Regions that came with the pictures: Fast R-CNN, fine-tuning of R-CNN and SPPnet, and alternating training."""

    def __init__(self, model: Method, loss: RoILoss) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: Batch, targets: Targets) -> Losses:
        """The losses `score` and `box`, those that count; their sum is minimised."""
        features = self.model.features(batch.images)
        return roi_losses(self.model, features, batch.regions, batch, targets, self.loss)


class JointObjective(nn.Module):
    """All four losses at once (Faster R-CNN, section 3.2).

    Approximate: proposals are constants. Exact: the gradient also flows through the coordinates of the proposals,
    into the pooling and the regression's targets.
    """

    def __init__(
        self, model: FasterRCNN, rpn: RPNLoss, rois: RoILoss, limits: ProposalLimits, exact: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.rpn = rpn
        self.rois = rois
        self.limits = limits
        self.exact = exact

    def forward(self, batch: Batch, targets: Targets) -> Losses:
        """The losses `rpn_score`, `rpn_box`, `score`, `box`; their sum is minimised."""
        features = self.model.features(batch.images)
        with torch.set_grad_enabled(self.exact and torch.is_grad_enabled()):
            proposals = self.model.rpn(features, batch, self.limits)
        losses = rpn_losses(self.model.rpn, features, batch, targets, self.rpn)
        return losses | roi_losses(self.model, features, proposals, batch, targets, self.rois)


def rpn_losses(rpn: RPN, features: list[Tensor], batch: Batch, targets: Targets, loss: RPNLoss) -> Losses:
    """Equation 1 of Faster R-CNN, over a mini-batch of anchors of each picture."""
    anchors = rpn.anchors_of(features, batch)
    usable = on_picture = anchors.inside(batch.sizes) & (batch.weight > 0)[:, None]
    if not loss.border:
        usable = usable & inside(anchors.boxes[None], batch.sizes)
    matches = match(anchors.boxes[None], targets, loss.train_difficult, usable)
    chosen = draw_sample(matches, usable, targets.keys, loss.sampling, stream=1)
    logits, deltas = rpn.head.at(features, chosen.index)
    truth = take(targets.boxes, chosen.take(matches.index))
    weight, valid = object_weight(targets, matches, chosen), chosen.valid.float()
    counted = on_picture.float() / rpn.anchors.per_cell if loss.per_position else valid
    boxes = loss.boxes(deltas.float(), anchors.boxes[chosen.index], truth, weight * chosen.positive)
    return {
        "rpn_score": mean_over(loss.scores(logits.float(), chosen.positive, weight), valid),
        "rpn_box": loss.balance * (boxes.sum() / counted.sum().clamp(min=1)),
    }


def roi_losses(
    model: Method, features: list[Tensor], proposals: Proposals, batch: Batch, targets: Targets, loss: RoILoss
) -> Losses:
    """The multi-task loss of Fast R-CNN, over a mini-batch of regions of each picture."""
    rois, usable = with_truth(proposals, targets)
    matches = match(rois.detach(), targets, loss.train_difficult)

    share = {"score": loss.score, "box": loss.box}

    def costs(some: Sampled) -> Costs:
        return region_costs(model, features, rois, matches, targets, some, loss)

    def shares(some: Sampled) -> Costs:
        return {task: share[task] * cost for task, cost in costs(some).items()}

    regions = Candidates(rois.detach(), matches, usable & (batch.weight > 0)[:, None], targets.keys)
    chosen = loss.choose(regions, loss.sampling, shares)
    valid = chosen.valid.float()
    return {task: share[task] * mean_over(cost, valid) for task, cost in costs(chosen).items()}


def region_costs(
    model: Method,
    features: list[Tensor],
    rois: Float[Tensor, "B N 4"],
    matches: Matches,
    targets: Targets,
    chosen: Sampled,
    loss: RoILoss,
) -> Costs:
    """What each of the chosen regions costs by `score` and by `box`, those of the two tasks that count."""
    boxes, index = chosen.take(rois), chosen.take(matches.index)
    labels = torch.where(chosen.positive, targets.labels.gather(1, index), 0)
    logits, deltas = (out.unflatten(0, labels.shape).float() for out in model.head(model.describe(features, boxes)))
    weight = object_weight(targets, matches, chosen)
    costs = {}
    if loss.score:
        costs["score"] = loss.scores(logits, labels, weight)
    if loss.box:
        own_class = deltas.gather(2, labels[..., None, None].expand(-1, -1, 1, 4))[:, :, 0]
        truth, scale = take(targets.boxes, index), (model.head.box_mean[labels], model.head.box_std[labels])
        costs["box"] = loss.boxes(own_class, with_sides(boxes), truth, weight * chosen.positive, *scale)
    return costs
