"""Operators of fixed output shape. Each file holds one contract; callers never ask which device they are on."""

from rcnn.ops.best_overlap import best_overlap
from rcnn.ops.conv2d import conv2d
from rcnn.ops.nms import nms
from rcnn.ops.roi_align import roi_align
from rcnn.ops.roi_pool import roi_pool
from rcnn.ops.spp import spp

__all__ = ["best_overlap", "conv2d", "nms", "roi_align", "roi_pool", "spp"]
