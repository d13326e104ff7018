"""The data of `rcnn demo`: scikit-learn's scans of handwritten digits, set into drawn scenes full of clutter.

Nothing is downloaded and nothing is stored: a scene is worked out from (seed, split, index). So that machines agree
to the bit, it is drawn with the four operations and square roots alone: sines, exponentials and long sums differ
in the last place from one processor to the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8

from rcnn.data import scenery
from rcnn.errors import DataError
from rcnn.sample import DataSet, Sample

SIZE = (160, 208)
CLASS_NAMES = tuple("0123456789")
SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}
"""What part of the scans each split draws from: no scan is ever seen in two splits."""

HEIGHTS = (24.0, 56.0)
"""Pixels that the eight rows of a scan are enlarged to."""
MOST_DIGITS = 6
EMPTY_SHARE = 0.04
MOST_OVERLAP = 0.05
"""Part of the smaller box that another box may cover."""
MARGIN = 2
"""Pixels between ink and the border of the picture."""

Ink = UInt8[np.ndarray, "_ _"]
"""How much of each pixel is covered with ink, 0..255."""


@dataclass(frozen=True, eq=False)
class PlacedInk:
    """A digit, or a sign that is none, cut tight around its ink, with the place of its upper left corner."""

    ink: Ink
    x: int
    y: int
    name: str

    @property
    def box(self) -> tuple[int, int, int, int]:
        height, width = self.ink.shape
        return self.x, self.y, self.x + width, self.y + height


@dataclass(frozen=True, eq=False)
class DigitScene:
    """A scene whose digits are fixed; the rest is drawn, the same each time, when the picture is asked for."""

    key: tuple[int, int, int]
    """Seed, number of the split, index: what the drawing is random by."""
    height: int
    width: int
    digits: tuple[PlacedInk, ...]

    def __call__(self) -> UInt8[np.ndarray, "H W 3"]:
        """The picture, RGB."""
        rng = np.random.default_rng((*self.key, 1))
        signs = _place(rng, [_sign(rng) for _ in range(rng.integers(0, 4))], self.digits, self.height, self.width)
        inks = [(item.ink / np.float32(255), item.x, item.y) for item in (*signs, *self.digits)]
        return scenery.paint(rng, self.height, self.width, inks)


def digit_scenes(train: int, val: int, test: int, seed: int, size: tuple[int, int] = SIZE) -> DataSet:
    """`train`, `val` and `test` scenes of `size` (height, width) pixels with up to six digits each.

    The same arguments give the same scenes; fewer scenes of a split are the first ones of more. Boxes are tight
    around the ink. Pictures are drawn when asked for. Raises DataError on a size too small to hold the digits.
    """
    if min(size) < 2 * HEIGHTS[1]:
        least = f"{2 * HEIGHTS[1]:.0f}"
        raise DataError(f"size {size[0]}x{size[1]}: too small for the digits; give at least {least}x{least}")
    counts = {"train": train, "val": val, "test": test}
    splits = {split: [_sample(seed, split, index, size) for index in range(count)] for split, count in counts.items()}
    return DataSet(splits, CLASS_NAMES)


def _sample(seed: int, split: str, index: int, size: tuple[int, int]) -> Sample:
    key = (seed, list(SHARES).index(split), index)
    digits = _digits(np.random.default_rng((*key, 0)), _pools(seed)[split], size)
    boxes = np.array([digit.box for digit in digits], np.float32).reshape(-1, 4)
    return Sample(f"{split}-{index:05d}", DigitScene(key, *size, digits), boxes, tuple(digit.name for digit in digits))


def _digits(rng: np.random.Generator, pool: np.ndarray, size: tuple[int, int]) -> tuple[PlacedInk, ...]:
    """The digits of one scene and where they stand."""
    if rng.random() < EMPTY_SHARE:
        return ()
    scans, labels = _scans()
    chosen = rng.choice(pool, rng.integers(1, MOST_DIGITS + 1))
    drawn = [(_enlarge(rng, scans[scan]), CLASS_NAMES[labels[scan]]) for scan in chosen]
    return tuple(_place(rng, drawn, (), *size))


@lru_cache(maxsize=1)
def _scans() -> tuple[Float[np.ndarray, "N 8 8"], np.ndarray]:
    """The 1,797 scans, ink 0..1, and the digit that each shows."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images / 16).astype(np.float32), data.target


@lru_cache(maxsize=8)
def _pools(seed: int) -> dict[str, np.ndarray]:
    """The numbers of the scans that each split may use."""
    order = np.random.default_rng(seed).permutation(len(_scans()[0]))
    cuts = (np.cumsum(list(SHARES.values()))[:-1] * len(order)).astype(int)
    return dict(zip(SHARES, np.split(order, cuts), strict=True))


def _sign(rng: np.random.Generator) -> tuple[Ink, str]:
    """A handwritten sign that is no digit, scanned as coarsely as the digits and enlarged alike."""
    strokes = scenery.SIGNS[rng.integers(len(scenery.SIGNS))]
    scan = np.zeros((8, 8), np.float32)
    for stroke in strokes:
        points = 0.7 + 5.6 * np.array(stroke) + rng.uniform(-0.5, 0.5, (len(stroke), 2))
        scan = np.maximum(scan, scenery.stroke(points, 1.2, 8, 8))
    return _enlarge(rng, scan), ""


def _enlarge(rng: np.random.Generator, scan: Float[np.ndarray, "8 8"]) -> Ink:
    """A scan as smooth ink of some size, turned, sheared and stretched a little, and cut to its edges."""
    scale = rng.uniform(*HEIGHTS) / 8
    stretch, shear, tangent = rng.uniform(0.85, 1.15), rng.uniform(-0.2, 0.2), rng.uniform(-0.12, 0.12)
    cos, sin = (1 - tangent**2) / (1 + tangent**2), 2 * tangent / (1 + tangent**2)
    half_height, half_width = int(5.2 * scale), int(6.5 * scale)
    y, x = np.ogrid[-half_height : half_height + 1, -half_width : half_width + 1]
    column, row = (cos * x + sin * y) / scale * stretch, (cos * y - sin * x) / scale
    value = scenery.surface(np.pad(_sharpened(scan), 2), row + 5.5, column + shear * row + 5.5)
    level, softness = rng.uniform(0.4, 0.5), rng.uniform(0.3, 0.7)
    ink = np.rint(np.clip((value - level) / softness + 0.5, 0, 1) * 255).astype(np.uint8)
    seen = ink > 40
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _sharpened(scan: Float[np.ndarray, "8 8"]) -> Float[np.ndarray, "10 10"]:
    """The scan with a margin and more contrast to each pixel's neighbours, which opens the eyes of a fat 8."""
    wide = np.pad(scan, 2)
    around = (wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]) / 4
    middle = wide[1:-1, 1:-1]
    return middle + 1.2 * (middle - around)


def _place(
    rng: np.random.Generator, drawn: Sequence[tuple[Ink, str]], others: Sequence[PlacedInk], height: int, width: int
) -> list[PlacedInk]:
    """Each piece of ink where it covers hardly anything else; one that finds no room in 30 tries is left out."""
    placed: list[PlacedInk] = []
    for ink, name in drawn:
        for _ in range(30):
            y, x = rng.integers(MARGIN, (height - ink.shape[0] - MARGIN, width - ink.shape[1] - MARGIN))
            item = PlacedInk(ink, int(x), int(y), name)
            if all(_overlap(item.box, other.box) <= MOST_OVERLAP for other in (*others, *placed)):
                placed.append(item)
                break
    return placed


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Common area as a part of the smaller box."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(width, 0) * max(height, 0) / smaller
