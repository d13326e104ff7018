"""From scores and deltas of regions to detections: the last step of all four methods."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rcnn.boxes import Weights, clip, decode, has_side
from rcnn.ops import nms
from rcnn.structures import Batch, PaddedDetections, Proposals

SMALLEST_SIDE = 1e-2  # of a detection, in pixels


@dataclass(frozen=True)
class Postprocess:
    """How candidates become detections.

    `score`: a detection must score above it. `nms`: a box that a better one of its class overlaps by more is dropped.
    `detections`: at most so many a picture. `candidates`: so many of the best (region, class) pairs enter suppression.
    `box_weights`: what the regression's deltas were multiplied with (see `rcnn.boxes.encode`).
    """

    score: float = 0.05
    nms: float = 0.5
    detections: int = 100
    candidates: int = 4096
    box_weights: Weights = (10.0, 10.0, 5.0, 5.0)

    def __call__(
        self,
        proposals: Proposals,
        logits: Float[Tensor, "B P K"],
        deltas: Float[Tensor, "B P K 4"],
        batch: Batch,
    ) -> PaddedDetections:
        """Softmax, regression by class, suppression within each class; column 0 of `logits` is the background."""
        probabilities = logits.float().softmax(-1)[..., 1:]
        scores = torch.where(proposals.valid[..., None], probabilities, 0).flatten(1)  # [B, P * (K - 1)]
        found = (scores > self.score).sum(dim=1)
        top = scores.topk(min(self.candidates, scores.shape[1]), dim=1)
        classes = logits.shape[2] - 1
        region, label = top.indices // classes, top.indices % classes + 1
        boxes = self._boxes(proposals.boxes, deltas, region, label, batch)
        valid = (top.values > self.score) & has_side(boxes, SMALLEST_SIDE)
        index, kept = nms(boxes, top.values, label, valid, self.nms, min(self.detections, boxes.shape[1]))
        return PaddedDetections(
            boxes=torch.where(kept[..., None], _take(boxes * _to_original(batch), index), 0),
            scores=torch.where(kept, top.values.gather(1, index), 0),
            labels=label.gather(1, index) * kept,
            valid=kept,
            complete=(found <= self.candidates) | (kept.sum(dim=1) == self.detections),
        )

    def _boxes(self, regions: Tensor, deltas: Tensor, region: Tensor, label: Tensor, batch: Batch) -> Tensor:
        """The candidates' boxes; only theirs are decoded."""
        classes = deltas.shape[2]
        chosen = _take(deltas.flatten(1, 2), region * classes + label)  # [B, M, 4]
        return clip(decode(chosen.float(), _take(regions, region), self.box_weights), batch.sizes)


def _take(rows: Float[Tensor, "B N 4"], index: Tensor) -> Float[Tensor, "B M 4"]:
    return rows.gather(1, index[..., None].expand(-1, -1, 4))


def _to_original(batch: Batch) -> Float[Tensor, "B 1 4"]:
    """What a resized picture's x, y, x, y are multiplied with to give the original's."""
    ratio = batch.original_sizes.float() / batch.sizes.float()  # [B, 2] as height width
    return ratio.flip(-1).repeat(1, 2)[:, None]
