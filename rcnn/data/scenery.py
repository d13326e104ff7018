"""What surrounds the digits of the demo: coloured ground, clutter, signs, light and noise, drawn with plain arithmetic.

See `digits` for why there is no sine or exponential here. Colours and ink are 0..1 until the last line of `paint`.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

Canvas = Float[np.ndarray, "H W 3"]
Colour = Float[np.ndarray, "3"]
Rng = np.random.Generator

LUMA = (0.299, 0.587, 0.114)

SIGNS: tuple[tuple[tuple[tuple[float, float], ...], ...], ...] = (
    (((0.5, 0), (0.5, 1)), ((0, 0.5), (1, 0.5))),  # plus
    (((0, 0), (1, 1)), ((1, 0), (0, 1))),  # times
    (((0.5, 0), (1, 1), (0, 1), (0.5, 0)),),  # triangle
    (((0, 0), (0.25, 1), (0.5, 0.3), (0.75, 1), (1, 0)),),  # W
    (((0, 1), (0.5, 0), (1, 1)), ((0.25, 0.6), (0.75, 0.6))),  # A
    (((0.1, 0), (0.1, 1)), ((0.9, 0), (0.1, 0.5), (0.9, 1))),  # K
    (((0, 0), (0, 1)), ((1, 0), (1, 1)), ((0, 0.5), (1, 0.5))),  # H
    (((0, 1), (0, 0), (1, 1), (1, 0)),),  # N
    (((0, 0.4), (0.5, 0), (1, 0.4)), ((0.5, 0), (0.5, 1))),  # arrow
)
"""Strokes of signs that nobody takes for a digit, as (x, y) in a unit square."""


def paint(rng: Rng, height: int, width: int, inks: Sequence[tuple[np.ndarray, int, int]]) -> UInt8[np.ndarray, "H W 3"]:
    """A picture with `inks` (coverage, x, y) in front of clutter, each ink far from its ground in brightness."""
    ground = rng.uniform(0.08, 0.92)
    canvas = _ground(rng, height, width, ground)
    for _ in range(rng.integers(6, 14)):
        CLUTTER[rng.integers(len(CLUTTER))](rng, canvas, _near(rng, ground))
    for ink, x, y in inks:
        window = canvas[y : y + ink.shape[0], x : x + ink.shape[1]]
        _blend(window, ink, _contrasting(rng, ground))
    for _ in range(rng.integers(0, 3)):
        _scratch(rng, canvas, _near(rng, ground))
    grain = rng.uniform(0.01, 0.08) * (rng.random((height, width, 3), np.float32) - 0.5)
    return np.rint(np.clip(canvas * _light(rng, height, width) + grain, 0, 1) * 255).astype(np.uint8)


def surface(grid: Float[np.ndarray, "h w"], rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The smooth surface through the values of `grid` (Catmull-Rom) at real coordinates; beyond its edge, the edge."""
    grid = grid.astype(np.float32)
    result: np.ndarray = np.zeros(np.broadcast_shapes(rows.shape, columns.shape), np.float32)
    column_taps = _taps(columns, grid.shape[1])
    for row, row_weight in _taps(rows, grid.shape[0]):
        for column, column_weight in column_taps:
            result += grid[row, column] * (row_weight * column_weight)
    return result


def _taps(position: np.ndarray, length: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Index and weight of the four values that a Catmull-Rom spline draws on at each position."""
    whole = np.floor(position)
    t = (position - whole).astype(np.float32)
    s = 1 - t
    weights = (-t * s * s, 2 - 5 * t * t + 3 * t * t * t, 2 - 5 * s * s + 3 * s * s * s, -s * t * t)
    first = whole.astype(int) - 1
    return [(np.clip(first + tap, 0, length - 1), weight / 2) for tap, weight in enumerate(weights)]


def stroke(points: Float[np.ndarray, "N 2"], thickness: float, height: int, width: int) -> Float[np.ndarray, "H W"]:
    """Coverage of a line through `points` (x, y), in a picture of this size."""
    y, x = np.ogrid[0:height, 0:width]
    square = np.full((height, width), np.inf, np.float32)
    for (x1, y1), (x2, y2) in zip(points[:-1].tolist(), points[1:].tolist(), strict=True):
        dx, dy = x2 - x1, y2 - y1
        along = np.clip(((x - x1) * dx + (y - y1) * dy) / max(dx * dx + dy * dy, 1e-6), 0, 1)
        square = np.minimum(square, (x - x1 - along * dx) ** 2 + (y - y1 - along * dy) ** 2)
    return np.clip(thickness / 2 + 0.5 - np.sqrt(square), 0, 1)


def _ground(rng: Rng, height: int, width: int, luma: float) -> Canvas:
    """Two colours of like brightness, blended by a slope, soft blots and a weave of stripes."""
    y, x = np.ogrid[0:height, 0:width]
    slope_x, slope_y = rng.uniform(-0.5, 0.5, 2)
    blots = surface(rng.random((9, 9)), *_lattice(height, width, 8.0))
    blend = 0.5 + slope_x * (x / width - 0.5) + slope_y * (y / height - 0.5) + rng.uniform(0.3, 1.2) * (blots - 0.5)
    along, across = rng.uniform(-0.3, 0.3, 2)
    wave = along * x + across * y
    blend += rng.uniform(0, 0.5) * (2 * np.abs(wave - np.floor(wave) - 0.5) - 0.5)
    first, second = _colour(rng, luma - 0.07, 0.55), _colour(rng, luma + 0.07, 0.55)
    return first + np.clip(blend, 0, 1).astype(np.float32)[..., None] * (second - first)


def _light(rng: Rng, height: int, width: int) -> Float[np.ndarray, "H W 1"]:
    """Light that falls off towards one side."""
    y, x = np.ogrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    slope_x, slope_y = rng.uniform(-0.25, 0.25, 2)
    return (1 + slope_x * x + slope_y * y).astype(np.float32)[..., None]


def _lattice(height: int, width: int, cells: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns that spread a grid of `cells` steps over a picture."""
    y, x = np.ogrid[0:height, 0:width]
    return y * (cells / height), x * (cells / width)


def _disc(rng: Rng, canvas: Canvas, colour: Colour) -> None:
    """A disc, filled: a ring would pass for a zero."""
    height, width = canvas.shape[:2]
    radius = rng.uniform(6, 34)
    y, x = np.ogrid[0:height, 0:width]
    distance = np.sqrt((x - rng.uniform(0, width)) ** 2 + (y - rng.uniform(0, height)) ** 2)
    _blend(canvas, np.clip(radius + 0.5 - distance, 0, 1) * rng.uniform(0.5, 1), colour)


def _card(rng: Rng, canvas: Canvas, colour: Colour) -> None:
    """A tilted rectangle."""
    height, width = canvas.shape[:2]
    y, x = np.ogrid[0:height, 0:width]
    slope = rng.uniform(-1, 1)
    norm = np.sqrt(1 + slope * slope)
    x, y = x - rng.uniform(0, width), y - rng.uniform(0, height)
    inside_x = rng.uniform(8, 40) + 0.5 - np.abs((x + slope * y) / norm)
    inside_y = rng.uniform(8, 30) + 0.5 - np.abs((y - slope * x) / norm)
    _blend(canvas, np.clip(np.minimum(inside_x, inside_y), 0, 1) * rng.uniform(0.5, 1), colour)


def _scribble(rng: Rng, canvas: Canvas, colour: Colour) -> None:
    """A wandering line."""
    height, width = canvas.shape[:2]
    steps = rng.uniform(-22, 22, (rng.integers(3, 8), 2)).cumsum(axis=0)
    _line(canvas, steps + rng.uniform((0, 0), (width, height)), rng.uniform(1, 4), colour)


def _scratch(rng: Rng, canvas: Canvas, colour: Colour) -> None:
    """A long thin straight line from anywhere to anywhere."""
    height, width = canvas.shape[:2]
    _line(canvas, rng.uniform((0, 0), (width, height), (2, 2)), rng.uniform(0.2, 1.0), colour)


CLUTTER = (_disc, _card, _scribble, _scratch)


def _line(canvas: Canvas, points: np.ndarray, thickness: float, colour: Colour) -> None:
    """A line through `points` (x, y), worked out only where it runs."""
    height, width = canvas.shape[:2]
    x1, y1 = np.clip(np.floor(points.min(axis=0) - thickness), 0, (width, height)).astype(int).tolist()
    x2, y2 = np.clip(np.ceil(points.max(axis=0) + thickness) + 1, 0, (width, height)).astype(int).tolist()
    _blend(canvas[y1:y2, x1:x2], stroke(points - (x1, y1), thickness, y2 - y1, x2 - x1), colour)


def _blend(canvas: Canvas, cover: Float[np.ndarray, "H W"], colour: Colour) -> None:
    touched = cover > 0  # most of a picture is not
    below = canvas[touched]
    canvas[touched] = below + cover[touched].astype(np.float32)[:, None] * (colour - below)


def _near(rng: Rng, ground: float) -> Colour:
    return _colour(rng, ground + rng.uniform(-0.15, 0.15), 0.6)


def _contrasting(rng: Rng, ground: float) -> Colour:
    """An ink that stands out: 0.42 or more from the ground in brightness, on the side where there is room."""
    lighter = ground < 0.5
    return _colour(rng, rng.uniform(ground + 0.42, 1.0) if lighter else rng.uniform(0, ground - 0.42), 0.9)


def _colour(rng: Rng, luma: float, vivid: float) -> Colour:
    """A random colour, 0 grey to 1 `vivid`, lightened or darkened to this brightness."""
    red, green, blue = (vivid * rng.random(3)).tolist()
    shift = luma - (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)
    return np.clip(np.array([red + shift, green + shift, blue + shift], np.float32), 0, 1)
