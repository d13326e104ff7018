"""SPPnet: one pass of convolutions for all regions, pooled by a pyramid of bins (arXiv 1406.4729)."""

from jaxtyping import Float
from torch import Tensor, nn

from rcnn.backbones import Backbone
from rcnn.heads.box_head import BoxHead
from rcnn.heads.spp import SPPPool
from rcnn.postprocess import Postprocess
from rcnn.structures import Batch, PaddedDetections


class SPPnet(nn.Module):
    """Regions from outside are pooled from shared features that are never trained; SVMs on fc7 classify them."""

    def __init__(self, backbone: Backbone, pool: SPPPool, head: BoxHead, postprocess: Postprocess) -> None:
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
        """What all regions of a picture share: the convolutions, at one scale or several."""
        return self.backbone(images)

    def describe(self, features: list[Tensor], boxes: Float[Tensor, "B P 4"]) -> Float[Tensor, "B*P C cells 1"]:
        """What the head sees of each region."""
        return self.pool(features, boxes)
