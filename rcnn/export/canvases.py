"""From pictures to the arrays that an exported graph takes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from rcnn.data.preprocess import Preprocess
from rcnn.data.raw import Size
from rcnn.structures import Batch

Arrays = Mapping[str, Shaped[np.ndarray, "..."]]
"""The inputs, or the outputs, of a graph by name."""


def in_bytes(preprocess: Preprocess) -> Preprocess:
    """The same preprocessing whose canvas holds the resized picture's own values, from 0 to 255, before rounding."""
    low, high = preprocess.limits or (0.0, 255.0)
    channels = preprocess.channels
    return replace(preprocess, mean=(-low / (high - low),) * channels, std=(1 / (high - low),) * channels)


def arrays_of(batch: Batch, normalised: bool) -> dict[str, Shaped[np.ndarray, "..."]]:
    """A batch as a graph takes it; its images are laid out `in_bytes` unless the graph takes them `normalised`."""
    images = batch.images if normalised else batch.images.permute(0, 2, 3, 1).round().clamp(0, 255).byte()
    arrays = {"images": images, "sizes": batch.sizes, "original_sizes": batch.original_sizes}
    if batch.proposals is not None:
        arrays |= {"proposals": batch.proposals.boxes, "proposals_valid": batch.proposals.valid}
    return {name: np.ascontiguousarray(values.numpy()) for name, values in arrays.items()}


def laid_out(
    preprocess: Preprocess, pictures: Sequence[Shaped[np.ndarray, "_ _ C"]], canvas: Size, normalised: bool
) -> dict[str, Any]:
    """Pictures that share a canvas as a graph takes them, without regions."""
    seen = preprocess if normalised else in_bytes(preprocess)
    sizes = [seen.resized((picture.shape[0], picture.shape[1])) for picture in pictures]
    return arrays_of(seen.lay_out(pictures, sizes, canvas, len(pictures)), normalised)
