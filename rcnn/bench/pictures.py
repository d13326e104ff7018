"""Made-up pictures for measurements: nothing is downloaded, and they are the same everywhere."""

import math
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Picture = UInt8[np.ndarray, "_ _ 3"]
"""RGB, height x width."""


def photo(height: int, width: int, seed: int) -> UInt8[np.ndarray, "H W 3"]:
    """Clouds of colour of all sizes, which is what a photograph looks like to a random network, and to a JPEG."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells in (6, 15, 40, 100):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC)) / math.sqrt(cells)
    low, high = total.min(), total.max()
    return ((total - low) / (high - low) * 255).astype(np.uint8)


def jpegs(folder: Path, count: int, height: int, width: int) -> list[Path]:
    """So many files of a camera's quality."""
    files = [folder / f"{number}.jpg" for number in range(count)]
    for number, file in enumerate(files):
        Image.fromarray(photo(height, width, number)).save(file, quality=92)
    return files
