"""Cuttings of pictures with the boxes that an error, a lost object or a doubtful label is about."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from rcnn.inference.draw import dashes
from rcnn.sample import Sample

Item = Mapping[str, Any]
"""An example of the analysis as JSON has it: `picture`, `box`, `name`, `score`, `truth_box`, `truth_name`, `iou`."""
Look = Callable[[Sample], UInt8[np.ndarray, "H W 3"]]
"""What a sample's picture looks like."""
WIDTH, HEIGHT = 336, 252
"""Of a cutting, in pixels."""
QUALITY = 82
FOUND, LABELLED = "#f5a300", "#4db4f0"
"""The colours of the box that was found and of the label that it is about; the page's legend has them too."""
THICK, THIN = 3, 2
CONTEXT = 0.7
"""On each side, of the sides of what is shown."""
LEAST = 1 / 3
"""Of the picture's sides that a cutting shows at least."""


@dataclass(frozen=True)
class Cutting:
    """A picture in the page."""

    address: str
    """`data:image/jpeg;base64,...`."""
    words: str
    """What it shows, for the eye below it and for those who hear the page."""


class Gallery:
    """Makes cuttings of the pictures of samples."""

    def __init__(self, samples: Sequence[Sample], look: Look) -> None:
        self.samples = samples
        self._picture = lru_cache(maxsize=16)(lambda place: look(samples[place]))

    def show(self, items: Sequence[Item], stage: bool = False) -> list[Cutting]:
        """One cutting an item, the other labels dashed; `stage`: the boxes are what came furthest, not detections."""
        return [self._cut(item, _lost(item) if stage else _words(item)) for item in items]

    def _cut(self, item: Item, words: str) -> Cutting:
        picture, sample = self._picture(item["picture"]), self.samples[item["picture"]]
        boxes = [box for box in (item["box"], item["truth_box"]) if box is not None]
        left, top, right, bottom = view(np.array(boxes, np.float64), picture.shape[:2])
        scale = min(WIDTH / (right - left), HEIGHT / (bottom - top))
        size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
        image = Image.fromarray(np.ascontiguousarray(picture[top:bottom, left:right]))
        image = image.resize(size, Image.Resampling.BICUBIC)
        place = _Place(left, top, scale)
        pen = ImageDraw.Draw(image)
        for box in sample.boxes.tolist():
            dashes(pen, place.of(box), THIN)
        if item["truth_box"] is not None:
            _outline(pen, place.of(item["truth_box"]), LABELLED)
        if item["box"] is not None and item["box"] != item["truth_box"]:
            _outline(pen, place.of(item["box"]), FOUND)
        return Cutting(_address(image), f"{words}, in {sample.id}")


@dataclass(frozen=True)
class _Place:
    """Where a cutting lies in its picture, and how much it is enlarged."""

    left: int
    top: int
    scale: float

    def of(self, box: Sequence[float]) -> tuple[int, int, int, int]:
        """A box in whole pixels of the cutting; what is beyond its borders is not drawn."""
        corner = (self.left, self.top, self.left, self.top)
        x1, y1, x2, y2 = (round((side - start) * self.scale) for side, start in zip(box, corner, strict=True))
        return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def _outline(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], colour: str) -> None:
    """A thick line between two dark hairlines, which shows on any ground."""
    x1, y1, x2, y2 = box
    pen.rectangle((x1 - 1, y1 - 1, x2, y2), outline="#202020", width=THICK + 2)
    pen.rectangle((x1, y1, x2 - 1, y2 - 1), outline=colour, width=THICK)


def view(boxes: Float[np.ndarray, "N 4"], size: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the part of a picture of `size` (height, width) that shows boxes and what is
    around them, in the shape of a cutting as far as the picture reaches.
    """
    height, width = size[:2]
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    middle = (low + high) / 2
    wide, tall = np.maximum((high - low) * (1 + 2 * CONTEXT), np.array([width, height]) * LEAST)
    wide, tall = max(wide, tall * WIDTH / HEIGHT), max(tall, wide * HEIGHT / WIDTH)
    wide, tall = min(round(wide), width), min(round(tall), height)
    left = int(np.clip(round(middle[0] - wide / 2), 0, width - wide))
    top = int(np.clip(round(middle[1] - tall / 2), 0, height - tall))
    return left, top, left + max(int(wide), 1), top + max(int(tall), 1)


def _address(image: Image.Image) -> str:
    content = io.BytesIO()
    image.convert("RGB").save(content, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def _words(item: Item) -> str:
    """`found RBC 0.98, labelled WBC, IoU 0.43`."""
    if item["score"] is None:
        return f"labelled {item['truth_name'] or item['name']}, not found"
    found = f"found {item['name']} {item['score']:.2f}"
    if item["truth_name"] is None:
        return f"{found}, nothing labelled"
    overlap = "" if item["iou"] is None else f", IoU {item['iou']:.2f}"
    return f"{found}, labelled {item['truth_name']}{overlap}"


def _lost(item: Item) -> str:
    """Which object was lost, and what came nearest to it."""
    instead = f", taken for {item['instead']}" if item.get("instead") else ""
    score = "" if item["score"] is None else f", score {item['score']:.2f}"
    return f"{item['name']}: nearest box IoU {item['iou']:.2f}{score}{instead}"
