"""Mean and deviation of each channel of some pictures: what `input.mean` and `input.std` should be."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from rcnn.data.picture import resolve
from rcnn.data.preprocess import Preprocess
from rcnn.sample import Sample

MOST = 64
"""So many pictures tell enough."""


def channel_statistics(
    samples: Sequence[Sample], preprocess: Preprocess, max_pixels: int
) -> tuple[Float[np.ndarray, "C"], Float[np.ndarray, "C"]]:
    """Mean and deviation of the pixels of at most 64 pictures, spread over all, in the range that is 0 to 1."""
    sums = np.zeros((3, preprocess.channels))
    for sample in samples[:: -(-len(samples) // MOST)]:
        picture = resolve(sample.picture, max_pixels, preprocess.channels)
        low, high = preprocess.limits_of(picture)
        pixels = (picture.reshape(-1, preprocess.channels).astype(np.float64) - low) / (high - low)
        sums += np.stack((np.full(preprocess.channels, len(pixels)), pixels.sum(0), (pixels**2).sum(0)))
    mean = sums[1] / sums[0]
    return mean, np.sqrt(np.maximum(sums[2] / sums[0] - mean**2, 0))
