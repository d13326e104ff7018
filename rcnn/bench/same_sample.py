"""Torchvision's detectors made to learn from the regions and mini-batches that this library draws.

Which boxes are drawn is chance, and the two libraries draw differently; of the same ones they must say the same.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from rcnn.agreement import near
from rcnn.matching import draws, sample
from rcnn.structures import Proposals, Targets

LOSSES = {
    "rpn_score": "loss_objectness",
    "rpn_box": "loss_rpn_box_reg",
    "score": "loss_classifier",
    "box": "loss_box_reg",
}
"""This library's names, and torchvision's."""
SAME_REGIONS = 0.98
"""Of the regions: rounding decides between boxes that score alike."""


class SameSample:
    """In place of torchvision's sampler: chooses what this library chooses, of stream 1 (anchors) or 2 (regions).

    Torchvision's regions are the proposals without padding and then the true boxes; here each part is padded, the
    proposals to `places`, the true boxes to those of `targets`.
    """

    def __init__(self, targets: Targets, stream: int, sampler: Any, places: int | None = None) -> None:
        self.targets, self.stream, self.places = targets, stream, places
        self.count, self.fraction = sampler.batch_size_per_image, sampler.positive_fraction

    def __call__(self, labels: Sequence[Int[Tensor, "_"]]) -> tuple[list[Tensor], list[Tensor]]:
        """Positive and negative places of each picture, as torchvision wants them: as masks."""
        masks = [self._choose(number, row) for number, row in enumerate(labels)]
        return [positive for positive, _ in masks], [negative for _, negative in masks]

    def _choose(self, number: int, labels: Int[Tensor, "N"]) -> tuple[UInt8[Tensor, "N"], UInt8[Tensor, "N"]]:
        place, total = torch.arange(len(labels), device=labels.device), len(labels)
        if self.places is not None:
            found = total - int(self.targets.valid[number].sum())
            place = torch.where(place < found, place, place - found + self.places)
            total = self.places + self.targets.boxes.shape[1]
        random = draws(self.targets.keys[number : number + 1], total, self.stream)[:, place]
        chosen = sample((labels >= 1)[None], (labels == 0)[None], random, self.count, self.fraction)
        positive, negative = (torch.zeros_like(labels, dtype=torch.uint8) for _ in range(2))
        positive[chosen.index[chosen.positive]] = 1
        negative[chosen.index[chosen.valid & ~chosen.positive]] = 1
        return positive, negative


def learning_alike(theirs: Any, targets: Targets, found: Proposals) -> Any:
    """A copy of torchvision's model as it trains, but with frozen norms, with the regions of `found` and the
    mini-batches that this library draws of some targets. Regions that are not its own too raise AssertionError."""
    theirs = copy.deepcopy(theirs).train()
    for norm in (m for m in theirs.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eval()
    rpn, heads, places = theirs.rpn, theirs.roi_heads, found.boxes.shape[1]
    rpn.fg_bg_sampler = SameSample(targets, 1, rpn.fg_bg_sampler)
    heads.fg_bg_sampler = SameSample(targets, 2, heads.fg_bg_sampler, places)
    regions = [boxes[valid] for boxes, valid in zip(found.boxes, found.valid, strict=True)]
    own_filter = rpn.filter_proposals

    def filter_proposals(*arguments: Any) -> tuple[list[Tensor], None]:
        for own, other in zip(own_filter(*arguments)[0], regions, strict=True):
            _check_regions(own, other)
        return regions, None

    rpn.filter_proposals = filter_proposals
    return theirs


def _check_regions(own: Float[Tensor, "N 4"], other: Float[Tensor, "M 4"]) -> None:
    """As sets: rounding reorders regions of almost equal scores."""
    near_by = torch.cdist(own, other, p=torch.inf) < 0.01
    share = float(torch.stack([near_by.any(dim=side).float().mean() for side in (0, 1)]).min())
    if share < SAME_REGIONS:
        raise AssertionError(f"only {share:.0%} of the proposals are the same, wanted {SAME_REGIONS:.0%}")


def losses_agree(own: Mapping[str, Tensor], theirs: Mapping[str, Tensor], tolerance: float) -> float:
    """The largest difference of a loss, as a share of it; raises AssertionError above `tolerance`."""
    pairs = ((own[name], theirs[other], name) for name, other in LOSSES.items())
    return max(near(a.detach(), b.detach(), tolerance, f"loss {name}") for a, b, name in pairs)
