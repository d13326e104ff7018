"""Pictures for the contract where a user gives none: made up, the same each time."""

import numpy as np
from jaxtyping import UInt8

GRAIN = 16
"""Pixels from one random colour to the next, between which colours run into each other."""


def made_up(count: int, size: tuple[int, int], channels: int, seed: int = 0) -> list[UInt8[np.ndarray, "H W C"]]:
    """Soft clouds with hard rectangles in front of them: something for anchors of all sizes."""
    rng = np.random.default_rng(seed)
    return [_picture(rng, size, channels) for _ in range(count)]


def _picture(rng: np.random.Generator, size: tuple[int, int], channels: int) -> UInt8[np.ndarray, "H W C"]:
    height, width = size
    coarse = rng.uniform(0, 255, (height // GRAIN + 2, width // GRAIN + 2, channels))
    rows, columns = np.arange(height) / GRAIN, np.arange(width) / GRAIN
    picture = _between(_between(coarse, rows).swapaxes(0, 1), columns).swapaxes(0, 1)
    for _ in range(12):
        top, left = rng.integers(0, height), rng.integers(0, width)
        tall, wide = rng.integers(4, max(5, height // 2)), rng.integers(4, max(5, width // 2))
        picture[top : top + tall, left : left + wide] = rng.uniform(0, 255, channels)
    return np.round(picture).astype(np.uint8)


def _between(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The values at places between the rows of a table."""
    first = places.astype(int)
    share = (places - first)[:, None, None]
    return values[first] * (1 - share) + values[first + 1] * share
