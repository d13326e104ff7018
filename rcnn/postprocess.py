"""From scores and deltas of regions to detections: the last step of all four methods."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rcnn.boxes import clip, decode, has_side
from rcnn.ops import nms
from rcnn.structures import Batch, PaddedDetections, Proposals, take

SMALLEST_SIDE = 1e-2  # of a detection, in pixels


@dataclass(frozen=True)
class Candidates:
    """The best (region, class) pairs of each picture, best first: what enters suppression. In pixels of the canvas."""

    pair: Int[Tensor, "B M"]
    """The region's number times K, and the class, both from 0."""
    boxes: Float[Tensor, "B M 4"]
    scores: Float[Tensor, "B M"]
    labels: Int[Tensor, "B M"]
    valid: Bool[Tensor, "B M"]
    found: Int[Tensor, "B"]
    """How many pairs scored above the threshold, candidates or not."""


@dataclass(frozen=True)
class Postprocess:
    """How candidates become detections.

    `score`: a detection must score above it. `nms`: a box that a better one of its class overlaps by more is dropped.
    `detections`: at most so many a picture. `candidates`: so many of the best (region, class) pairs enter suppression,
    and of each class at most `per_class` (0: no limit). `refine`: whether regions are moved by their deltas.
    """

    score: float = 0.05
    nms: float = 0.5
    detections: int = 100
    candidates: int = 4096
    per_class: int = 0
    refine: bool = True

    def __call__(
        self,
        proposals: Proposals,
        scores: Float[Tensor, "N K"],
        deltas: Float[Tensor, "N K 4"],
        batch: Batch,
    ) -> PaddedDetections:
        """Choice of the best pairs, regression by class, suppression within each class; N is B times P regions."""
        pairs = self.choose(proposals, scores, deltas, batch)
        index, kept = self.suppress(pairs, min(self.detections, pairs.scores.shape[1]))
        return PaddedDetections(
            boxes=torch.where(kept[..., None], take(pairs.boxes * to_original(batch), index), 0),
            scores=torch.where(kept, pairs.scores.gather(1, index), 0),
            labels=pairs.labels.gather(1, index) * kept,
            valid=kept,
            complete=(pairs.found <= self.candidates) | (kept.sum(dim=1) == self.detections),
        )

    def choose(
        self, proposals: Proposals, scores: Float[Tensor, "N K"], deltas: Float[Tensor, "N K 4"], batch: Batch
    ) -> Candidates:
        """The best pairs, each region refined for its class."""
        classes = scores.shape[1]
        shape = (*proposals.valid.shape, classes)  # (B, P, K)
        pairs = self._best_of_class(torch.where(proposals.valid[..., None], scores.reshape(shape), 0)).flatten(1)
        top = pairs.topk(min(self.candidates, pairs.shape[1]), dim=1)
        region, label = top.indices // classes, top.indices % classes + 1
        boxes = take(proposals.boxes, region)
        if self.refine:
            boxes = decode(take(deltas.reshape(*pairs.shape, 4), top.indices), boxes)
        boxes = clip(boxes, batch.sizes)
        valid = (top.values > self.score) & has_side(boxes, SMALLEST_SIDE)
        return Candidates(top.indices, boxes, top.values, label, valid, (pairs > self.score).sum(dim=1))

    def suppress(self, pairs: Candidates, most: int) -> tuple[Int[Tensor, "B k"], Bool[Tensor, "B k"]]:
        """The best `most` that no better one of their class suppresses: places, best first, and which are filled."""
        return nms(pairs.boxes, pairs.scores, pairs.labels, pairs.valid, self.nms, most)

    def _best_of_class(self, scores: Float[Tensor, "B P K"]) -> Float[Tensor, "B P K"]:
        """The scores with all but the best `per_class` of each class set to zero."""
        if not 0 < self.per_class < scores.shape[1]:
            return scores
        least = scores.topk(self.per_class, dim=1).values[:, -1:]  # [B, 1, K]
        return torch.where(scores >= least, scores, 0)


def to_original(batch: Batch) -> Float[Tensor, "B 1 4"]:
    """What a resized picture's x, y, x, y are multiplied with to give the original's."""
    ratio = batch.original_sizes.float() / batch.sizes.float()  # [B, 2] as height width
    return ratio.flip(-1).repeat(1, 2)[:, None]
