"""Operators of fixed output shape. Each file holds one contract; callers never ask which device they are on."""

from rcnn.ops.nms import nms
from rcnn.ops.roi_align import roi_align

__all__ = ["nms", "roi_align"]
