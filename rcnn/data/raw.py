"""Pictures that travel as bytes, to be resized, normalised and padded on the device that looks at them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from rcnn.data.shown import Limits
from rcnn.structures import Batch, pinned, to_device

Size = tuple[int, int]
"""Height and width, in pixels."""
Colour = tuple[float, ...]
"""A number for each channel."""


@dataclass(frozen=True)
class RawBatch:
    """A batch whose pictures are as they were decoded: one or two bytes a value, and no work for the processor.

    `resized` is the size of each on the `canvas`; `limits` are its values that become 0 and 1; `rest` is the batch
    without its images.
    """

    pictures: tuple[Shaped[Tensor, "_ _ C"], ...]
    resized: tuple[Size, ...]
    canvas: Size
    mean: Colour
    std: Colour
    limits: tuple[Limits, ...]
    rest: Batch

    def on(self, device: torch.device) -> Batch:
        """The batch laid out there: the same numbers as `Preprocess.lay_out` gives, to rounding."""
        count = len(self.rest.weight)
        images = torch.zeros(count, *self.canvas, len(self.mean), device=device).permute(0, 3, 1, 2)  # channels last
        for place, (picture, size, limits) in enumerate(zip(self.pictures, self.resized, self.limits, strict=True)):
            shown = normalised(to_device(picture, device), size, limits, self.mean, self.std)
            images[place, :, : size[0], : size[1]] = shown
        return replace(to_device(self.rest, device), images=images)

    def pin_memory(self) -> "RawBatch":
        """The same in page-locked memory."""
        return replace(self, pictures=pinned(self.pictures), rest=pinned(self.rest))


def normalised(
    pixels: Shaped[Tensor, "_ _ C"], size: Size, limits: Limits, mean: Colour, std: Colour
) -> Float[Tensor, "C h w"]:
    """A picture at another size, its values from 0 to 1, less the mean, divided by the deviation.

    Bilinear between pixel centres, without antialiasing.
    """
    planes = pixels.permute(2, 0, 1)[None].float()
    shown = F.interpolate(planes, size, mode="bilinear", align_corners=False)[0]  # a small one is normalised
    low, high = limits
    if low:
        shown.sub_(low)
    return shown.div_(high - low).sub_(_colour(mean, pixels.device)).div_(_colour(std, pixels.device))


def on_device(batch: Batch | RawBatch, device: torch.device) -> Batch:
    """A batch as a network takes it."""
    return batch.on(device) if isinstance(batch, RawBatch) else to_device(batch, device)


def lays_out(device: torch.device) -> bool:
    """Whether pictures had better travel as bytes to be laid out there."""
    return device.type == "cuda"


@cache
def _colour(values: Sequence[float], device: torch.device) -> Float[Tensor, "C 1 1"]:
    return torch.tensor(values, device=device)[:, None, None]
