"""Faster R-CNN: regions come from the network itself (arXiv 1506.01497)."""

from torch import nn

from rcnn.backbones import PyramidBackbone
from rcnn.heads.box_head import BoxHead
from rcnn.heads.roi import RoIAlignPool
from rcnn.postprocess import Postprocess
from rcnn.proposals.rpn import RPN, ProposalLimits
from rcnn.structures import Batch, PaddedDetections


class FasterRCNN(nn.Module):
    """One set of convolutions, a network that proposes regions on it, and a head that classifies and refines them."""

    def __init__(
        self,
        backbone: PyramidBackbone,
        rpn: RPN,
        pool: RoIAlignPool,
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
        features = self.backbone(batch.images)
        proposals = self.rpn(features, batch, self.limits)
        logits, deltas = self.head(self.pool(features, proposals.boxes))
        regions = proposals.valid.shape  # (B, P)
        return self.postprocess(proposals, logits.unflatten(0, regions), deltas.unflatten(0, regions), batch)
