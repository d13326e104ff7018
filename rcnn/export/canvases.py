"""From pictures to the arrays that an exported graph takes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Shaped

from rcnn.data.preprocess import Preprocess
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


def stacked(pictures: Sequence[Arrays]) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The arrays of single pictures of one canvas as those of a batch; regions are filled up to the most of one."""
    return {name: np.concatenate(_filled([arrays[name] for arrays in pictures])) for name in pictures[0]}


def _filled(arrays: Sequence[Shaped[np.ndarray, "1 N ..."]]) -> list[Shaped[np.ndarray, "1 N ..."]]:
    most = max(array.shape[1] for array in arrays)
    return [np.pad(array, [(0, 0), (0, most - array.shape[1]), *[(0, 0)] * (array.ndim - 2)]) for array in arrays]
