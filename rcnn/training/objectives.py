"""What training minimises. An objective holds the model and meets a batch with its truth; the model never sees any."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rcnn.boxes import encode
from rcnn.losses import box_loss, class_loss, mean_over, objectness_loss
from rcnn.matching import Matches, Sampled, draws, match, sample
from rcnn.methods.faster_rcnn import FasterRCNN
from rcnn.proposals.rpn import ProposalLimits
from rcnn.structures import Batch, Proposals, Targets

Losses = dict[str, Float[Tensor, ""]]


@dataclass(frozen=True)
class Sampling:
    """Who is positive (IoU of at least `positive`), who negative (from `low` to under `negative`), how many are drawn.

    `best_match`: a box that overlaps some object most is positive however little it overlaps.
    """

    count: int
    fraction: float
    positive: float
    negative: float
    low: float = 0.0
    best_match: bool = False


@dataclass(frozen=True)
class JointSettings:
    """How approximate joint training samples and weighs."""

    rpn: Sampling = Sampling(count=256, fraction=0.5, positive=0.7, negative=0.3, best_match=True)
    rois: Sampling = Sampling(count=512, fraction=0.25, positive=0.5, negative=0.5)
    limits: ProposalLimits = ProposalLimits(before=2000, after=2000)
    beta: float = 1 / 9
    train_difficult: bool = True


class JointObjective(nn.Module):
    """Approximate joint training (Faster R-CNN, section 3.2): all four losses at once, proposals taken as constants."""

    def __init__(self, model: FasterRCNN, settings: JointSettings) -> None:
        super().__init__()
        self.model = model
        self.settings = settings

    def forward(self, batch: Batch, targets: Targets) -> Losses:
        """The losses by name: `rpn_score`, `rpn_box`, `score`, `box`; their sum is minimised."""
        features = self.model.backbone(batch.images)
        with torch.no_grad():
            proposals = self.model.rpn([level.detach() for level in features], batch, self.settings.limits)
        return self._rpn_losses(features, batch, targets) | self._roi_losses(features, proposals, batch, targets)

    def _rpn_losses(self, features: list[Tensor], batch: Batch, targets: Targets) -> Losses:
        rpn, settings = self.model.rpn, self.settings
        anchors = rpn.anchors_of(features, batch)
        usable = anchors.inside(batch.sizes) & (batch.weight > 0)[:, None]
        matches = match(anchors.boxes[None], targets, settings.train_difficult, usable)
        chosen = draw_sample(matches, usable, targets.keys, settings.rpn, stream=1)
        logits, deltas = rpn.head.at(features, chosen.index)
        wanted = encode(_matched(targets.boxes, chosen.take(matches.index)), anchors.boxes[chosen.index])
        weight, valid = object_weight(targets, matches, chosen), chosen.valid.float()
        return {
            "rpn_score": mean_over(objectness_loss(logits.float(), chosen.positive, weight), valid),
            "rpn_box": mean_over(box_loss(deltas.float(), wanted, weight * chosen.positive, settings.beta), valid),
        }

    def _roi_losses(self, features: list[Tensor], proposals: Proposals, batch: Batch, targets: Targets) -> Losses:
        model, settings = self.model, self.settings
        rois, usable = with_truth(proposals, targets)
        matches = match(rois, targets, settings.train_difficult)
        chosen = draw_sample(matches, usable & (batch.weight > 0)[:, None], targets.keys, settings.rois, stream=2)
        boxes, index = chosen.take(rois), chosen.take(matches.index)
        labels = torch.where(chosen.positive, targets.labels.gather(1, index), 0)
        logits, deltas = (out.unflatten(0, labels.shape).float() for out in model.head(model.pool(features, boxes)))
        own_class = deltas.gather(2, labels[..., None, None].expand(-1, -1, 1, 4))[:, :, 0]
        wanted = encode(_matched(targets.boxes, index), _with_sides(boxes), model.postprocess.box_weights)
        weight, valid = object_weight(targets, matches, chosen), chosen.valid.float()
        return {
            "score": mean_over(class_loss(logits, labels, weight), valid),
            "box": mean_over(box_loss(own_class, wanted, weight * chosen.positive, settings.beta), valid),
        }


def with_truth(proposals: Proposals, targets: Targets) -> tuple[Float[Tensor, "B N 4"], Bool[Tensor, "B N"]]:
    """Proposals and true boxes together, so that positives exist from the first step; and which count."""
    boxes = torch.cat((proposals.boxes, targets.boxes), dim=1)
    return boxes, torch.cat((proposals.valid, targets.valid & ~targets.crowd), dim=1)


def draw_sample(
    matches: Matches, usable: Bool[Tensor, "B N"], keys: Int[Tensor, "B"], sampling: Sampling, stream: int
) -> Sampled:
    """The mini-batch of each picture."""
    positive = matches.iou >= sampling.positive
    if sampling.best_match:
        positive = positive | matches.best
    negative = (matches.iou < sampling.negative) & (matches.iou >= sampling.low) & ~matches.ignored
    random = draws(keys, usable.shape[1], stream)
    return sample(positive & usable, negative & ~positive & usable, random, sampling.count, sampling.fraction)


def object_weight(targets: Targets, matches: Matches, chosen: Sampled) -> Float[Tensor, "B S"]:
    """What each sampled place counts: its object's weight where positive, 1 where negative, 0 where empty."""
    own = targets.weight.gather(1, chosen.take(matches.index))
    return torch.where(chosen.positive, own, 1.0) * chosen.valid


def _matched(boxes: Float[Tensor, "B G 4"], index: Int[Tensor, "B S"]) -> Float[Tensor, "B S 4"]:
    return boxes.gather(1, index[..., None].expand(-1, -1, 4))


def _with_sides(boxes: Float[Tensor, "B S 4"]) -> Float[Tensor, "B S 4"]:
    """Boxes as they are, unit boxes in empty places: their logarithm must stay finite though nothing is learned."""
    unit = torch.zeros_like(boxes) + torch.arange(4, device=boxes.device).ge(2)
    return torch.where((boxes[..., 2:] > boxes[..., :2]).all(-1, keepdim=True), boxes, unit)
