"""Which candidates a loss looks at: mini-batches of fixed size, drawn anew for each picture, or the hardest."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rcnn.matching import Matches, Sampled, draws, sample
from rcnn.ops import nms
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
    positive, negative = _roles(matches, usable, sampling)
    random = draws(keys, usable.shape[1], stream)
    return sample(positive, negative, random, sampling.count, sampling.fraction)


def _roles(
    matches: Matches, usable: Bool[Tensor, "B N"], sampling: Sampling
) -> tuple[Bool[Tensor, "B N"], Bool[Tensor, "B N"]]:
    """Who may be drawn as a positive, and who as a negative."""
    positive = matches.iou >= sampling.positive
    if sampling.best_match:
        positive = positive | matches.best
    negative = (matches.iou < sampling.negative) & (matches.iou >= sampling.low) & ~matches.ignored
    return positive & usable, negative & ~positive & usable


@dataclass(frozen=True)
class Candidates:
    """Regions out of which some are chosen: how they lie to the truth, which may be, and their pictures' keys."""

    boxes: Float[Tensor, "B N 4"]
    matches: Matches
    usable: Bool[Tensor, "B N"]
    keys: Int[Tensor, "B"]


Costs = dict[str, Float[Tensor, "B S"]]
"""What each place of a mini-batch costs, by task."""
Choose = Callable[[Candidates, Sampling, Callable[[Sampled], Costs]], Sampled]
"""A mini-batch of candidates; the function tells what the places of one would cost."""


def at_random(regions: Candidates, sampling: Sampling, costs: Callable[[Sampled], Costs]) -> Sampled:
    """By lot, whatever they cost (Fast R-CNN, section 2.3)."""
    return draw_sample(regions.matches, regions.usable, regions.keys, sampling, stream=2)


@dataclass(frozen=True)
class Hardest:
    """The regions that cost most, of those that overlap by more than `nms` one alone (OHEM, arXiv 1604.03540).

    Every region goes through the network once, without a gradient. How many are positive is left to their costs:
    of `Sampling`, the fraction and `low` count for nothing (section 4.1).
    """

    nms: float = 0.7

    def __call__(self, regions: Candidates, sampling: Sampling, costs: Callable[[Sampled], Costs]) -> Sampled:
        """The `count` hardest regions of each picture."""
        positive, negative = _roles(regions.matches, regions.usable, replace(sampling, low=0.0))
        usable = positive | negative
        everyone = torch.arange(usable.shape[1], device=usable.device).expand(usable.shape)
        with torch.no_grad():
            cost = torch.stack(list(costs(Sampled(everyone, positive, usable)).values())).sum(0)
        count, group = min(sampling.count, usable.shape[1]), torch.zeros_like(everyone)
        index, kept = nms(regions.boxes, cost, group, usable, self.nms, count)
        return Sampled(index, positive.gather(1, index) & kept, kept)


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
