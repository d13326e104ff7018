"""Faster R-CNN: regions come from the network itself (arXiv 1506.01497)."""

from jaxtyping import Float
from torch import Tensor, nn

from rcnn.backbones import Backbone
from rcnn.heads.box_head import BoxHead
from rcnn.heads.roi import RoIAlignPool, RoIMaxPool
from rcnn.postprocess import Postprocess
from rcnn.proposals.rpn import RPN, ProposalLimits
from rcnn.structures import Batch, PaddedDetections


class FasterRCNN(nn.Module):
    """One set of convolutions, a network that proposes regions on it, and a head that classifies and refines them."""

    def __init__(
        self,
        backbone: Backbone,
        rpn: RPN,
        pool: RoIAlignPool | RoIMaxPool,
        head: BoxHead,
        limits: ProposalLimits,
        postprocess: Postprocess,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.rpn = rpn
        self.pool = pool
        self.head = head
        self.limits = limits
        self.postprocess = postprocess

    def forward(self, batch: Batch) -> PaddedDetections:
        """Detections of each picture, in its original pixels."""
        features = self.features(batch.images)
        proposals = self.rpn(features, batch, self.limits)
        scores, deltas = self.head.predict(self.describe(features, proposals.boxes))
        return self.postprocess(proposals, scores, deltas, batch)

    def limited(self, limits: ProposalLimits) -> "FasterRCNN":
        """The same network with other limits on its proposals."""
        return FasterRCNN(self.backbone, self.rpn, self.pool, self.head, limits, self.postprocess)

    def features(self, images: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """What all regions of a picture share, and the network that proposes them too: the convolutions."""
        return self.backbone(images)

    def describe(self, features: list[Tensor], boxes: Float[Tensor, "B P 4"]) -> Float[Tensor, "B*P C h w"]:
        """What the head sees of each region."""
        return self.pool(features, boxes)
