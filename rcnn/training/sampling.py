"""Which candidates a loss looks at: mini-batches of fixed size, drawn anew for each picture."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rcnn.matching import Matches, Sampled, draws, sample
from rcnn.structures import Proposals, Targets


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


def with_truth(proposals: Proposals, targets: Targets) -> tuple[Float[Tensor, "B N 4"], Bool[Tensor, "B N"]]:
    """Proposals and true boxes together, so that positives exist from the first step; and which count."""
    boxes = torch.cat((proposals.boxes, targets.boxes), dim=1)
    return boxes, torch.cat((proposals.valid, targets.valid & ~targets.crowd), dim=1)


def object_weight(targets: Targets, matches: Matches, chosen: Sampled) -> Float[Tensor, "B S"]:
    """What each sampled place counts: its object's weight where positive, 1 where negative, 0 where empty."""
    own = targets.weight.gather(1, chosen.take(matches.index))
    return torch.where(chosen.positive, own, 1.0) * chosen.valid


def with_sides(boxes: Float[Tensor, "B S 4"]) -> Float[Tensor, "B S 4"]:
    """Boxes as they are, unit boxes in empty places: their logarithm must stay finite though nothing is learned."""
    unit = torch.zeros_like(boxes) + torch.arange(4, device=boxes.device).ge(2)
    return torch.where((boxes[..., 2:] > boxes[..., :2]).all(-1, keepdim=True), boxes, unit)
