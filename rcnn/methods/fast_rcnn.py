"""Fast R-CNN: one pass of convolutions, one network, one stage of training (arXiv 1504.08083)."""

from dataclasses import replace
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from rcnn.backbones import Backbone, ImagePyramid
from rcnn.heads.box_head import BoxHead
from rcnn.heads.roi import RoIAlignPool, RoIMaxPool
from rcnn.ops.levels import levels_of
from rcnn.postprocess import Postprocess
from rcnn.structures import Batch, PaddedDetections


class FastRCNN(nn.Module):
    """Regions from outside are pooled from shared features; a head classifies and refines them."""

    def __init__(
        self, backbone: Backbone, pool: RoIAlignPool | RoIMaxPool, head: BoxHead, postprocess: Postprocess
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pool = pool
        self.head = head
        self.postprocess = postprocess

    def forward(self, batch: Batch) -> PaddedDetections:
        """Detections of each picture, in its original pixels."""
        features = self.features(batch.images)
        scores, deltas = self.head.predict(self.describe(features, batch.regions.boxes))
        return self.postprocess(batch.regions, scores, deltas, batch)

    def features(self, images: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """What all regions of a picture share: the convolutions."""
        return self.backbone(images)

    def describe(self, features: list[Tensor], boxes: Float[Tensor, "B P 4"]) -> Float[Tensor, "B*P C h w"]:
        """What the head sees of each region."""
        return self.pool(features, boxes)

    def at_one_scale(self) -> "FastRCNN":
        """The same network without its pyramid of pictures: it learns from one scale a picture (section 2.4)."""
        if not isinstance(self.backbone, ImagePyramid):
            return self
        strides = self.backbone.network.strides
        pool = replace(self.pool, strides=strides, level_of=partial(levels_of, strides=strides))
        return FastRCNN(self.backbone.network, pool, self.head, self.postprocess)
