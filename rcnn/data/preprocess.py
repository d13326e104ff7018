"""What happens to a picture before the network sees it: one visible object, stored with every model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from rcnn.structures import Batch

Size = tuple[int, int]
"""Height and width, in pixels."""

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

    def prepare(self, picture: UInt8[np.ndarray, "H W 3"], size: Size) -> Float[Tensor, "3 h w"]:
        """The picture normalised, then resized to `size`: bilinear without antialiasing, as torchvision's detectors."""
        # W: a read-only array, as np.asarray makes of a Pillow picture, is copied; torch would warn.
        pixels = torch.from_numpy(np.require(picture, requirements=["C", "W"])).permute(2, 0, 1)
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        image = (pixels.float() / 255 - mean) / std
        if size == (image.shape[1], image.shape[2]):
            return image
        return F.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]


def lay_out(images: Sequence[Float[Tensor, "3 h w"]], originals: Sequence[Size], canvas: Size, count: int) -> Batch:
    """A batch of `count` places, the first filled with `images`, the rest with pictures of weight 0.

    Channels last, which is what the processors' convolutions want.
    """
    pixels = torch.zeros(count, 3, *canvas).contiguous(memory_format=torch.channels_last)
    sizes = torch.full((count, 2), 32)
    for place, image in enumerate(images):
        pixels[place, :, : image.shape[1], : image.shape[2]] = image
        sizes[place] = torch.tensor(image.shape[1:])
    original_sizes = sizes.clone()
    original_sizes[: len(images)] = torch.tensor(originals).reshape(-1, 2)
    weight = (torch.arange(count) < len(images)).float()
    return Batch(pixels, sizes, original_sizes, weight)


def _up32(side: float) -> int:
    return math.ceil(side / 32) * 32
