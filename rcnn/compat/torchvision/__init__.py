"""Torchvision's Faster R-CNN: its weights read and written, and its models under its own call convention."""

from rcnn.compat.torchvision.models import (
    fasterrcnn_mobilenet_v3_large_320_fpn,
    fasterrcnn_mobilenet_v3_large_fpn,
    fasterrcnn_resnet50_fpn,
    fasterrcnn_resnet50_fpn_v2,
)
from rcnn.compat.torchvision.weights import CONFIGS, WEIGHTS, config_named, from_state, load_torchvision, rename

__all__ = [
    "CONFIGS",
    "WEIGHTS",
    "config_named",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "from_state",
    "load_torchvision",
    "rename",
]
