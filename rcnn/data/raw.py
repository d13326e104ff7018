"""Pictures that travel as bytes, to be resized, normalised and padded on the device that looks at them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from rcnn.structures import Batch, pinned, to_device

Size = tuple[int, int]
"""Height and width, in pixels."""
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class RawBatch:
    """A batch whose pictures are as they were decoded: a byte a value, and no work for the processor.

    `resized` is the size of each on the `canvas`; `rest` is the batch without its images.
    """

    pictures: tuple[UInt8[Tensor, "_ _ 3"], ...]
    resized: tuple[Size, ...]
    canvas: Size
    mean: Colour
    std: Colour
    rest: Batch

    def on(self, device: torch.device) -> Batch:
        """The batch laid out there: the same numbers as `Preprocess.lay_out` gives, to rounding."""
        count = len(self.rest.weight)
        images = torch.zeros(count, *self.canvas, 3, device=device).permute(0, 3, 1, 2)  # channels last
        mean, std = (_colour(values, device) for values in (self.mean, self.std))
        for place, (picture, size) in enumerate(zip(self.pictures, self.resized, strict=True)):
            pixels = to_device(picture, device).permute(2, 0, 1)[None].float()
            shown = F.interpolate(pixels, size, mode="bilinear", align_corners=False)[0]  # a small one is normalised
            images[place, :, : size[0], : size[1]] = shown.div_(255).sub_(mean).div_(std)
        return replace(to_device(self.rest, device), images=images)

    def pin_memory(self) -> "RawBatch":
        """The same in page-locked memory."""
        return replace(self, pictures=pinned(self.pictures), rest=pinned(self.rest))


def on_device(batch: Batch | RawBatch, device: torch.device) -> Batch:
    """A batch as a network takes it."""
    return batch.on(device) if isinstance(batch, RawBatch) else to_device(batch, device)


def lays_out(device: torch.device) -> bool:
    """Whether pictures had better travel as bytes to be laid out there."""
    return device.type == "cuda"


@cache
def _colour(values: Sequence[float], device: torch.device) -> Float[Tensor, "3 1 1"]:
    return torch.tensor(values, device=device)[:, None, None]
