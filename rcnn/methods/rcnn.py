"""R-CNN: every region is cut out, warped and sent through the whole network by itself (arXiv 1311.2524)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rcnn.backbones import Backbone
from rcnn.heads.box_head import BoxHead, Scored
from rcnn.heads.warp import warp
from rcnn.postprocess import Postprocess
from rcnn.structures import Batch, PaddedDetections


class RCNN(nn.Module):
    """Regions from outside, warped to `crop` pixels with `context` around them; nothing is shared between them.

    `grid` is the side of the last map after pooling; about `chunk` regions of a batch are in memory at once.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: BoxHead,
        postprocess: Postprocess,
        crop: int = 227,
        context: int = 16,
        grid: int = 6,
        chunk: int = 64,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.postprocess = postprocess
        self.crop = crop
        self.context = context
        self.grid = grid
        self.chunk = chunk

    def forward(self, batch: Batch) -> PaddedDetections:
        """Detections of each picture, in its original pixels."""
        scores, deltas = self.predict(self.features(batch.images), batch.regions.boxes)
        return self.postprocess(batch.regions, scores, deltas, batch)

    def predict(self, features: list[Tensor], boxes: Float[Tensor, "B P 4"]) -> Scored:
        """Scores and plain deltas of all regions, some of them at a time."""
        chunks = boxes.split(max(1, self.chunk // len(boxes)), dim=1)
        parts = [self.head.predict(self.describe(features, chunk)) for chunk in chunks]
        scores, deltas = (
            torch.cat([part.unflatten(0, (len(boxes), -1)) for part in column], dim=1).flatten(0, 1)
            for column in zip(*parts, strict=True)
        )
        return scores, deltas

    def features(self, images: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """What all regions of a picture share: the picture itself."""
        return [images]

    def describe(self, features: list[Tensor], boxes: Float[Tensor, "B P 4"]) -> Float[Tensor, "B*P C grid grid"]:
        """What the head sees of each region: the last map of its own crop, pooled."""
        crops = warp(features[0], boxes, self.crop, self.context)
        return F.adaptive_max_pool2d(self.backbone(crops)[0], self.grid)
