"""What happens to a picture before the network sees it: one visible object, stored with every model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from rcnn.data.raw import RawBatch, Size
from rcnn.data.resize import resize
from rcnn.structures import Batch

Bucket = Literal["coarse", "exact32"]


@dataclass(frozen=True)
class Preprocess:
    """Resize to a short side of `short` unless the long one would exceed `long`; normalise; lay on a canvas.

    The canvas follows from the picture's size and these settings alone. `exact32`: the resized picture's sides,
    rounded up to 32 (torchvision's for one picture). `coarse`: five canvases in all, so that most pictures of a data
    set share one and graphs are few.
    """

    short: int = 800
    long: int = 1333
    bucket: Bucket = "coarse"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def resized(self, size: Size, short: int | None = None) -> Size:
        """The size of a picture of `size` after resizing, for another short side if given."""
        short = short or self.short
        long = self.long * short / self.short
        scale = min(short / min(size), long / max(size))
        return max(1, math.floor(size[0] * scale)), max(1, math.floor(size[1] * scale))

    def canvas(self, resized: Size, short: int | None = None) -> Size:
        """The canvas for a resized picture."""
        if self.bucket == "exact32":
            return _up32(resized[0]), _up32(resized[1])
        short = short or self.short
        long = self.long * short / self.short
        steps = sorted({_up32(short), _up32((short + long) / 2), _up32(long)})
        height, width = (next(step for step in steps if step >= side) for side in resized)
        return height, width

    def lay_out(
        self, pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]], sizes: Sequence[Size], canvas: Size, count: int
    ) -> Batch:
        """A batch of `count` places: first the pictures, each at its size and normalised, then pictures of weight 0.

        Channels last, which is what the processors' convolutions want; written once, where it is read.
        """
        images = torch.empty(count, *canvas, 3)
        for place, (picture, size) in enumerate(zip(pictures, sizes, strict=True)):
            resize(picture, size, self._levels(), images[place].numpy())
        images[len(pictures) :] = 0
        return _batch(images.permute(0, 3, 1, 2), pictures, sizes)

    def pack(
        self, pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]], sizes: Sequence[Size], canvas: Size, count: int
    ) -> RawBatch:
        """The same batch with its pictures as they are, to be laid out on another device."""
        raw = tuple(torch.from_numpy(np.require(picture, requirements=("C", "W"))) for picture in pictures)
        rest = _batch(torch.zeros(count, 3, 0, 0), pictures, sizes)
        return RawBatch(raw, tuple(sizes), canvas, self.mean, self.std, rest)

    def _levels(self) -> Float[np.ndarray, "256 3"]:
        """What the 256 levels of red, green and blue are to the network."""
        mean, std = (np.array(values, np.float32) for values in (self.mean, self.std))
        return (np.arange(256, dtype=np.float32)[:, None] / np.float32(255) - mean) / std


def _batch(
    images: Float[Tensor, "B 3 H W"], pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]], sizes: Sequence[Size]
) -> Batch:
    """Images with the sizes of the pictures in the first places; the others count nothing."""
    count = len(images)
    shown = torch.full((count, 2), 32)
    originals = shown.clone()
    for place, (picture, size) in enumerate(zip(pictures, sizes, strict=True)):
        shown[place], originals[place] = torch.tensor(size), torch.tensor(picture.shape[:2])
    return Batch(images, shown, originals, (torch.arange(count) < len(pictures)).float())


def _up32(side: float) -> int:
    return math.ceil(side / 32) * 32
