"""Reading data sets and pictures: what is wrong in them is found and named before training."""

from rcnn.choices import Format, Policy
from rcnn.data.checking import check_pictures
from rcnn.data.defects import Finding, OpenedData, enforce
from rcnn.data.picture import MAX_PIXELS, picture_size, read_picture, read_pixels, resolve
from rcnn.data.recognise import open_data
from rcnn.data.splits import draw_splits, every_sample, samples_of
from rcnn.data.writing import write_data

__all__ = [
    "MAX_PIXELS",
    "Finding",
    "Format",
    "OpenedData",
    "Policy",
    "check_pictures",
    "draw_splits",
    "enforce",
    "every_sample",
    "open_data",
    "picture_size",
    "read_picture",
    "read_pixels",
    "resolve",
    "samples_of",
    "write_data",
]
