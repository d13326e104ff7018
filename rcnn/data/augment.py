"""How pictures vary in training: what is cut out, where it stands, its colours. Chance comes in as a generator.

A view is a picture and its sample, in the picture's own pixels. Whatever a view loses, its objects and regions lose.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from rcnn.data.raw import Size
from rcnn.sample import Pixels, Sample

View = tuple[Pixels, Sample]
Pair = tuple[int | float, int | float]
"""Of x and y."""
Pixel = Shaped[np.ndarray, "C"]
Window = tuple[int, int, int, int]
"""Top, left, height, width, in pixels."""
SMALLEST_CROP = 16  # pixels a side: torchvision's own rule divides by sides that it has rounded down


@dataclass(frozen=True)
class ColourRanges:
    """How far each property may go from what it is, in parts of it; hue in parts of the colour circle."""

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.02


@dataclass(frozen=True)
class Augment:
    """How pictures vary in training: the chance of a mirror image, short sides to choose from, and what is off.

    `scale_jitter` are factors of the picture's size; `iou_crop`, `zoom_out`, `mosaic` and `colour` are chances;
    `zoom_out_sides` is how many times as long the sides around a smaller picture are at most. An object of which less
    than `keep` of its area is left is dropped.
    """

    flip: float = 0.5
    scales: tuple[int, ...] = ()
    scale_jitter: tuple[float, float] = (1.0, 1.0)
    iou_crop: float = 0.0
    zoom_out: float = 0.0
    zoom_out_sides: float = 4.0
    mosaic: float = 0.0
    colour: float = 0.0
    colours: ColourRanges = ColourRanges()
    keep: float = 0.25


def vary(view: View, usual: Size, augment: Augment, rng: np.random.Generator, gray: Pixel) -> tuple[View, Size]:
    """A variation of a view and the size that it shall have on the canvas, at most that which is `usual`.

    A view that was made smaller on gray is neither cut nor scaled besides.
    """
    cutting, zooming, colouring = rng.random(3) < (augment.iou_crop, augment.zoom_out, augment.colour)
    if cutting:
        view = iou_crop(view, rng, augment.keep)
    size = fitting(shape_of(view), usual) if cutting else usual
    if augment.scale_jitter != (1.0, 1.0) and (cutting or not zooming):
        view, size = jitter(view, size, rng.uniform(*augment.scale_jitter), rng, augment.keep)
    if colouring:
        view = recoloured(view[0], augment.colours, rng), view[1]
    if zooming and not cutting:
        view = zoom_out(view, usual, augment.zoom_out_sides, rng, gray)
    return view, size


def jitter(view: View, size: Size, factor: float, rng: np.random.Generator, keep: float) -> tuple[View, Size]:
    """A picture of `factor` times the `size`, cut to that size where it exceeds it (arXiv 2012.07177, section 3.1)."""
    if factor <= 1:
        return view, scaled(size, factor)
    height, width = shape_of(view)
    sides = scaled((height, width), 1 / factor)
    top, left = int(rng.integers(height - sides[0] + 1)), int(rng.integers(width - sides[1] + 1))
    return cut(view, (top, left, *sides), keep), size


def iou_crop(view: View, rng: np.random.Generator, keep: float) -> View:
    """A cut-out that overlaps some object by an IoU drawn by lot (SSD, arXiv 1512.02325, section 2.2)."""
    sample, (height, width) = view[1], shape_of(view)
    if not len(sample.boxes) or min(height, width) < SMALLEST_CROP:
        return view
    boxes = tv_tensors.BoundingBoxes(sample.boxes, format="XYXY", canvas_size=(height, width))  # type: ignore[call-overload]
    with drawing(rng):
        found: dict[str, Any] = v2.RandomIoUCrop().make_params([boxes])
    return cut(view, tuple(found[side] for side in ("top", "left", "height", "width")), keep) if found else view


def zoom_out(view: View, size: Size, sides: float, rng: np.random.Generator, gray: Pixel) -> View:
    """The picture, smaller, somewhere on gray ground of the given size (SSD, section 3.6)."""
    frame = tv_tensors.BoundingBoxes(torch.zeros(0, 4), format="XYXY", canvas_size=size)  # type: ignore[call-overload]
    with drawing(rng):
        left, top, right, bottom = v2.RandomZoomOut(side_range=(1, sides)).make_params([frame])["padding"]
    high, wide = size[0] / (size[0] + top + bottom), size[1] / (size[1] + left + right)
    small = resized(view, (max(1, int(size[0] * high)), max(1, int(size[1] * wide))))
    ground = np.broadcast_to(gray, (*size, len(gray))).copy()
    return paste(ground, small, int(top * high), int(left * wide))


def paste(ground: Pixels, view: View, top: int, left: int) -> View:
    """A view on other ground, which is written to."""
    height, width = shape_of(view)
    ground[top : top + height, left : left + width] = view[0]
    return ground, moved(view[1], (left, top))


def cut(view: View, window: Window, keep: float) -> View:
    """What lies in a window of a view."""
    top, left, height, width = window
    picture, sample = view
    part = clipped(moved(sample, (-left, -top)), (height, width), keep)
    return picture[top : top + height, left : left + width], part


def clipped(sample: Sample, size: Size, keep: float) -> Sample:
    """A sample of which only what lies within a picture of `size` is left.

    An object, or a region, is dropped where less than `keep` of its area is left, or not a pixel; a crowd stays as
    long as anything of it does, for nothing shall be learned there.
    """
    boxes, left = _clipped(sample.boxes, size)
    kept = _seen(boxes) & ((left >= keep) | np.asarray(sample.crowd))
    proposals = sample.proposals
    if proposals is not None:
        regions, rest = _clipped(proposals, size)
        proposals = regions[_seen(regions) & (rest >= keep)]
    area = sample.area * left  # type: ignore[operator]
    return replace(sample, boxes=boxes, area=area, proposals=proposals).keep(kept)


def _clipped(boxes: Float[np.ndarray, "G 4"], size: Size) -> tuple[Float[np.ndarray, "G 4"], Float[np.ndarray, "G"]]:
    """Boxes within a picture, and which part of its area is left of each."""
    inner = boxes.clip(0, (size[1], size[0], size[1], size[0]))
    whole = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return inner, (inner[:, 2:] - inner[:, :2]).prod(axis=1) / np.maximum(whole, 1e-6)


def _seen(boxes: Float[np.ndarray, "G 4"]) -> Bool[np.ndarray, "G"]:
    return (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)


def moved(sample: Sample, by: Pair, scale: Pair = (1.0, 1.0)) -> Sample:
    """A sample whose boxes are scaled, then shifted; both as x and y."""
    factor, shift = np.array(scale * 2, np.float32), np.array(by * 2, np.float32)
    proposals = sample.proposals
    if proposals is not None:
        proposals = proposals * factor + shift
    return replace(sample, boxes=sample.boxes * factor + shift, proposals=proposals)


def resized(view: View, size: Size) -> View:
    """A view at another size, bilinear and without antialiasing, as the network would see it."""
    picture, sample = view
    height, width = shape_of(view)
    pixels = v2.functional.resize(_pixels(picture), list(size), antialias=False)
    return _picture(pixels, picture), moved(sample, (0, 0), (size[1] / width, size[0] / height))


def recoloured(picture: Pixels, ranges: ColourRanges, rng: np.random.Generator) -> Pixels:
    """A picture in other colours; the channels of one without red, green and blue change in brightness and contrast."""
    pixels, light = _pixels(picture), (ranges.brightness, ranges.contrast)
    with drawing(rng):
        if len(pixels) == 3:
            return _picture(v2.ColorJitter(*light, ranges.saturation, ranges.hue)(pixels), picture)
        return _picture(v2.ColorJitter(*light)(pixels[:, None])[:, 0], picture)


@contextmanager
def drawing(rng: np.random.Generator) -> Iterator[None]:
    """While this context lasts, torch draws what follows from `rng`: torchvision's transforms know no other way."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(rng.integers(2**63)))
        yield


def shape_of(view: View) -> Size:
    """Height and width of a view."""
    return view[0].shape[0], view[0].shape[1]


def scaled(size: Size, factor: float) -> Size:
    """A size times a factor, of at least a pixel and never more than before for factors up to 1."""
    return max(1, math.floor(size[0] * factor)), max(1, math.floor(size[1] * factor))


def fitting(size: Size, room: Size) -> Size:
    """The largest size of the same proportions within `room`."""
    factor = min(room[0] / size[0], room[1] / size[1])
    height, width = scaled(size, factor)
    return min(height, room[0]), min(width, room[1])


def _pixels(picture: Pixels) -> Shaped[Tensor, "C H W"]:
    """A picture as torchvision's transforms take it; values of more than a byte become numbers from 0 to 1."""
    values = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)
    return values if picture.dtype == np.uint8 else values.float() / _most(picture)


def _picture(pixels: Shaped[Tensor, "C H W"], like: Pixels) -> Pixels:
    """The inverse of `_pixels`, in the type of another picture."""
    values = pixels.permute(1, 2, 0).numpy()
    if like.dtype == np.uint8:
        return values
    wide = values * _most(like)
    return (wide.round() if np.issubdtype(like.dtype, np.integer) else wide).astype(like.dtype)


def _most(picture: Pixels) -> int:
    """The largest value of a picture's type; 1 for numbers, whose range is the settings' to know."""
    return np.iinfo(picture.dtype).max if np.issubdtype(picture.dtype, np.integer) else 1
