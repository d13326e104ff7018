"""What happens to a picture before the network sees it: one visible object, stored with every model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Shaped
from PIL import Image
from torch import Tensor

from rcnn.data.raw import RawBatch, Size, normalised
from rcnn.data.resize import resize
from rcnn.data.shown import Limits
from rcnn.errors import DataError
from rcnn.structures import Batch

Bucket = Literal["coarse", "exact32", "exact"]
Resize = Literal["bilinear", "pillow"]


@dataclass(frozen=True)
class Preprocess:
    """Resize to a short side of `short` unless the long one would exceed `long`; normalise; lay on a canvas.

    The canvas follows from the picture's size and these settings alone. `exact`: the resized picture's sides
    (detectron2's for one picture without a pyramid); `exact32`: rounded up to 32 (torchvision's for one picture).
    `coarse`: five canvases in all, so that most pictures of a data set share one and graphs are few. `resize` is
    torchvision's (`bilinear`) or detectron2's (`pillow`), each with its own rounding of the sides. `mean` and
    `std` have one number for each channel of a picture.
    """

    short: int = 800
    long: int = 1333
    bucket: Bucket = "coarse"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    resize: Resize = "bilinear"
    limits: Limits | None = None
    """The values that are 0 and 1 to the network; without them 0..255 of 8 bits and 0..65535 of 16."""

    @property
    def channels(self) -> int:
        """Of a picture."""
        return len(self.mean)

    def resized(self, size: Size, short: int | None = None) -> Size:
        """The size of a picture of `size` after resizing, for another short side if given."""
        short = short or self.short
        long = self.long * short / self.short
        scale = min(short / min(size), long / max(size))
        half = 0.5 if self.resize == "pillow" else 0.0
        return max(1, math.floor(size[0] * scale + half)), max(1, math.floor(size[1] * scale + half))

    def canvas(self, resized: Size, short: int | None = None) -> Size:
        """The canvas for a resized picture."""
        if self.bucket == "exact":
            return resized
        if self.bucket == "exact32":
            return _up32(resized[0]), _up32(resized[1])
        short = short or self.short
        long = self.long * short / self.short
        steps = sorted({_up32(short), _up32((short + long) / 2), _up32(long)})
        height, width = (next(step for step in steps if step >= side) for side in resized)
        return height, width

    def lay_out(
        self, pictures: Sequence[Shaped[np.ndarray, "_ _ C"]], sizes: Sequence[Size], canvas: Size, count: int
    ) -> Batch:
        """A batch of `count` places: first the pictures, each at its size and normalised, then pictures of weight 0.

        Channels last, which is what the processors' convolutions want; written once, where it is read. Raises
        DataError for a float picture whose range nobody told.
        """
        images = torch.empty(count, *canvas, self.channels)
        for place, (picture, size) in enumerate(zip(pictures, sizes, strict=True)):
            if self._is_usual(picture):
                resize(self._shrunk(picture, size), size, self._levels(), images[place].numpy())
            else:
                self._place(picture, size, images[place])
        images[len(pictures) :] = 0
        return _batch(images.permute(0, 3, 1, 2), pictures, sizes)

    def pack(
        self, pictures: Sequence[Shaped[np.ndarray, "_ _ C"]], sizes: Sequence[Size], canvas: Size, count: int
    ) -> RawBatch:
        """The same batch with its pictures as they are, to be laid out on another device."""
        shrunk = (self._shrunk(picture, size) for picture, size in zip(pictures, sizes, strict=True))
        raw = tuple(torch.from_numpy(np.require(picture, requirements=("C", "W"))) for picture in shrunk)
        rest = _batch(torch.zeros(count, self.channels, 0, 0), pictures, sizes)
        limits = tuple(self.limits_of(picture) for picture in pictures)
        return RawBatch(raw, tuple(sizes), canvas, self.mean, self.std, limits, rest)

    def limits_of(self, picture: Shaped[np.ndarray, "_ _ C"]) -> Limits:
        """The values of a picture that are 0 and 1 to the network; raises DataError where nobody told."""
        if self.limits is not None:
            return self.limits
        if picture.dtype not in (np.uint8, np.uint16):
            raise DataError("a picture of float values: no range is known; say it as input.range=[0, 1]")
        return 0.0, 255.0 if picture.dtype == np.uint8 else 65535.0

    def _place(self, picture: Shaped[np.ndarray, "_ _ C"], size: Size, canvas: Float[Tensor, "H W C"]) -> None:
        """Write a picture of any channels and bits into the upper left corner of a canvas, and zero beyond."""
        canvas.zero_()
        pixels = torch.from_numpy(np.ascontiguousarray(picture))
        shown = normalised(pixels, size, self.limits_of(picture), self.mean, self.std)
        canvas[: size[0], : size[1]] = shown.permute(1, 2, 0)

    def _is_usual(self, picture: Shaped[np.ndarray, "_ _ C"]) -> bool:
        """Whether a picture is RGB of 8 bits, which a table turns into the network's numbers."""
        return picture.dtype == np.uint8 and self.channels == 3 and self.limits is None

    def _shrunk(self, picture: Shaped[np.ndarray, "_ _ C"], size: Size) -> Shaped[np.ndarray, "_ _ C"]:
        """The picture itself, or already at its new size where Pillow resizes: in bytes, before it is normalised."""
        if self.resize == "bilinear" or not self._is_usual(picture):
            return picture
        image = Image.fromarray(np.ascontiguousarray(picture))
        return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))

    def gray(self, picture: Shaped[np.ndarray, "_ _ C"]) -> Shaped[np.ndarray, "C"]:
        """The pixel that is nearest to zero for the network, in the values of a picture."""
        low, high = self.limits_of(picture)
        values = low + np.array(self.mean) * (high - low)
        whole = np.issubdtype(picture.dtype, np.integer)
        return (np.round(values) if whole else values).astype(picture.dtype)

    def _levels(self) -> Float[np.ndarray, "256 3"]:
        """What the 256 levels of red, green and blue are to the network."""
        mean, std = (np.array(values, np.float32) for values in (self.mean, self.std))
        return (np.arange(256, dtype=np.float32)[:, None] / np.float32(255) - mean) / std


def _batch(
    images: Float[Tensor, "B C H W"], pictures: Sequence[Shaped[np.ndarray, "_ _ C"]], sizes: Sequence[Size]
) -> Batch:
    """Images with the sizes of the pictures in the first places; the others count nothing."""
    count = len(images)
    shown = torch.full((count, 2), 32)
    originals = shown.clone()
    for place, (picture, size) in enumerate(zip(pictures, sizes, strict=True)):
        shown[place], originals[place] = torch.tensor(size), torch.tensor(picture.shape[:2])
    return Batch(images, shown, originals, (torch.arange(count) < len(pictures)).float())


def _up32(side: int | float) -> int:
    return math.ceil(side / 32) * 32
