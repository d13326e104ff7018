"""Large pictures with small objects: looked at piece by piece, at full size, and put together again."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor

from rcnn.data.picture import resolve
from rcnn.data.raw import Size
from rcnn.inference.merging import joined, merged
from rcnn.inference.predictor import Detector
from rcnn.inference.ways import Tiles, Window
from rcnn.sample import Picture
from rcnn.structures import Detections

EDGE = 2.0
"""Pixels: a box that comes so near to an edge of its window may go on beyond it."""


def predict_tiled(
    detector: Detector, pictures: Iterable[Picture], tiles: Tiles, batch: int = 1, score: float | None = 0.0
) -> Iterator[Detections]:
    """The detections of each picture, found in its tiles, `batch` of them at a time, in the picture's own pixels.

    Raises DataError at a picture that cannot be read.
    """
    for picture in pictures:
        rgb = resolve(picture, detector.max_pixels, detector.preprocess.channels)
        size = rgb.shape[0], rgb.shape[1]
        windows = tiles.windows(size)
        looks = windows + [(0, 0, size[1], size[0])] * (tiles.whole and len(windows) > 1)
        crops = (rgb[top:bottom, left:right] for left, top, right, bottom in looks)
        found = list(detector.predict(crops, batch, score))
        yield put_together(found, looks, size, tiles.nms)


def put_together(found: list[Detections], windows: list[Window], size: Size, nms: float) -> Detections:
    """What was found in windows of a picture, each in its own pixels, as detections of the picture."""
    cut = [is_cut(one, window, size) for one, window in zip(found, windows, strict=True)]
    placed = [
        replace(one, boxes=one.boxes + torch.tensor([window[:2] * 2], dtype=one.boxes.dtype))
        for one, window in zip(found, windows, strict=True)
    ]
    return merged(joined(placed, found[0].class_names), nms, torch.cat(cut))


def is_cut(found: Detections, window: Window, size: Size) -> Bool[Tensor, "D"]:
    """Which detections touch an edge of their window that is not the picture's own."""
    left, top, right, bottom = window
    room = torch.tensor([right - left, bottom - top], dtype=found.boxes.dtype)
    at_first = found.boxes[:, :2] <= EDGE
    at_last = found.boxes[:, 2:] >= room - EDGE
    inner_first = torch.tensor([left > 0, top > 0])
    inner_last = torch.tensor([right < size[1], bottom < size[0]])
    return ((at_first & inner_first) | (at_last & inner_last)).any(dim=1)
