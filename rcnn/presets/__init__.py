"""Whole configurations by name. A preset is a function, so that reading it says what it is."""

from collections.abc import Callable

from rcnn.config import Config
from rcnn.presets import modern, papers

DEFAULT_PRESET = "faster-rcnn-mobilenet-fpn"

PRESETS: dict[str, Callable[[], Config]] = {
    "faster-rcnn-mobilenet-fpn": modern.faster_rcnn_mobilenet_fpn,
    "faster-rcnn-r18-fpn": modern.faster_rcnn_r18_fpn,
    "faster-rcnn-r50-fpn": modern.faster_rcnn_r50_fpn,
    "faster-rcnn-r50-c4": modern.faster_rcnn_r50_c4,
    "fast-rcnn-mobilenet-fpn": modern.fast_rcnn_mobilenet_fpn,
    "sppnet-mobilenet": modern.sppnet_mobilenet,
    "rcnn-mobilenet": modern.rcnn_mobilenet,
    "rcnn-alexnet": papers.rcnn_alexnet,
    "rcnn-vgg16": papers.rcnn_vgg16,
    "sppnet-zf": papers.sppnet_zf,
    "fast-rcnn-alexnet": papers.fast_rcnn_alexnet,
    "fast-rcnn-vgg-m": papers.fast_rcnn_vgg_m,
    "fast-rcnn-vgg16": papers.fast_rcnn_vgg16,
    "faster-rcnn-zf": papers.faster_rcnn_zf,
    "faster-rcnn-vgg16": papers.faster_rcnn_vgg16,
    "demo": modern.demo,
}
