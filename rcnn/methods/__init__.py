"""The four methods, one short forward pass each: where regions come from, how each becomes a vector, what is shared."""

from rcnn.methods.fast_rcnn import FastRCNN
from rcnn.methods.faster_rcnn import FasterRCNN
from rcnn.methods.rcnn import RCNN
from rcnn.methods.sppnet import SPPnet

Method = RCNN | SPPnet | FastRCNN | FasterRCNN
"""Each has `backbone`, `head`, `postprocess`; what the head sees of a region is made by `features` and `describe`."""

__all__ = ["RCNN", "FastRCNN", "FasterRCNN", "Method", "SPPnet"]
