"""Networks that turn a picture into a pyramid of features."""

from rcnn.backbones.networks import NETWORKS, Trunk
from rcnn.backbones.norm import fold_frozen_norm
from rcnn.backbones.pyramid import PyramidBackbone
from rcnn.backbones.weights import LoadReport, load_backbone_weights

__all__ = ["NETWORKS", "LoadReport", "PyramidBackbone", "Trunk", "fold_frozen_norm", "load_backbone_weights"]
