"""Networks that turn a picture into a pyramid of features."""

from rcnn.backbones.classifier import FULLY_CONNECTED, fully_connected, load_fully_connected
from rcnn.backbones.image_pyramid import ImagePyramid
from rcnn.backbones.networks import NETWORKS, network
from rcnn.backbones.norm import fold_frozen_norm, freeze_norms, settle_norms
from rcnn.backbones.pyramid import PyramidBackbone
from rcnn.backbones.single import SingleMapBackbone
from rcnn.backbones.trunk import Trunk
from rcnn.backbones.weights import LoadReport, load_backbone_weights

Backbone = PyramidBackbone | SingleMapBackbone | ImagePyramid
"""Each gives a list of maps, finest first, and says their `strides` and `channels`."""

__all__ = [
    "FULLY_CONNECTED",
    "NETWORKS",
    "Backbone",
    "ImagePyramid",
    "LoadReport",
    "PyramidBackbone",
    "SingleMapBackbone",
    "Trunk",
    "fold_frozen_norm",
    "freeze_norms",
    "fully_connected",
    "load_backbone_weights",
    "load_fully_connected",
    "network",
    "settle_norms",
]
