"""Any picture as people see it."""

import numpy as np
from jaxtyping import UInt8

from rcnn.sample import Pixels

Limits = tuple[float, float]
"""The values that are 0 and 1 to a network."""


def as_shown(picture: Pixels, limits: tuple[float, float] | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """The first three channels as red, green and blue, or the first one as gray, in 8 bits.

    `limits` are the values that become black and white; without them 0 and 65535 of 16 bits, and of float pictures the
    least and the greatest value. RGB of 8 bits stays as it is.
    """
    colours = picture[..., :3] if picture.shape[2] >= 3 else np.repeat(picture[..., :1], 3, axis=2)
    if picture.dtype == np.uint8 and limits is None:
        return np.ascontiguousarray(colours)
    if limits is None:
        limits = (0.0, 65535.0) if picture.dtype == np.uint16 else (float(colours.min()), float(colours.max()))
    low, high = limits
    scaled = (colours.astype(np.float32) - low) * (255 / max(high - low, 1e-12))
    return np.nan_to_num(scaled).clip(0, 255).round().astype(np.uint8)
