"""How time grows with what there is to do: each case is one size on one axis, and the axes are drawn together."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from rcnn.bench.evaluate import evaluate_case, made_up
from rcnn.bench.harness import Case, Closing, Row
from rcnn.bench.predict import MOBILE, Work, predict_case
from rcnn.bench.train import train_case

SMALL = Work(MOBILE, (320, 480))
LARGEST = 3
"""Sizes that growth is told by: of two alone a moment's noise would decide."""
LINEAR = 1.3
"""The largest power of size that still passes for growth in proportion: small sizes do not fill the processor."""


def _by_side(times: int) -> Work:
    return replace(SMALL, size=(320 * times, 480 * times), short=320 * times)


AXES: Mapping[str, tuple[Sequence[int], Callable[[int, torch.device], Case]]] = {
    "sides of the picture, times 320 x 480": ((1, 2, 3, 4), lambda n, device: predict_case(_by_side(n), {}, device)),
    "proposals": ((150, 300, 600, 1200), lambda n, device: predict_case(replace(SMALL, regions=n), {}, device)),
    "pictures at once": ((1, 2, 4, 8), lambda n, device: predict_case(replace(SMALL, batch=n), {}, device)),
    "classes": ((20, 80, 320, 1280), lambda n, device: predict_case(replace(SMALL, classes=n), {}, device)),
    "pictures that are evaluated": ((100, 200, 400, 800), lambda n, device: evaluate_case(*made_up(n, 20))),
    "true boxes of a picture": (
        (4, 16, 64, 256),
        lambda n, device: train_case(replace(SMALL, batch=2), n, {}, device),
    ),
}
"""Name to its sizes and what is done at each. An axis of sides grows with their square.

Training comes last, for it has the process keep freed memory.
"""
SIDES = next(iter(AXES))


PLACES = [(axis, size) for axis, (sizes, _) in AXES.items() for size in sizes]


def cases(device: torch.device) -> Iterator[Case]:
    """Axis after axis, smallest first."""
    return (case(number, device) for number in range(len(PLACES)))


def case(number: int, device: torch.device) -> Case:
    """One of them, without what the others take to be made."""
    axis, size = PLACES[number]
    made = AXES[axis][1](size, device)
    return replace(made, name=f"{axis}: {size:,}", ways=[replace(way, wanted=None) for way in made.ways])


@dataclass(frozen=True)
class Curve:
    """What one way takes along an axis."""

    axis: str
    way: str
    sizes: tuple[float, ...]
    seconds: tuple[float, ...]
    memory: tuple[float, ...]
    """MiB, where measured."""

    @property
    def power(self) -> float:
        """Of the size, that the seconds grow with over the three largest sizes; sides count as area."""
        if len(self.sizes) < 2:
            return math.nan
        slope = float(np.polyfit(np.log(self.sizes[-LARGEST:]), np.log(self.seconds[-LARGEST:]), 1)[0])
        return slope / (2 if self.axis == SIDES else 1)


def curves(rows: Sequence[Row]) -> list[Curve]:
    """Of rows of this part, in their order."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.case.rpartition(": ")[0], row.way), []).append(row)
    return [
        Curve(
            axis,
            way,
            tuple(float(row.case.rpartition(": ")[2].replace(",", "")) for row in own),
            tuple(row.median for row in own),
            tuple(row.memory for row in own if row.memory is not None),
        )
        for (axis, way), own in found.items()
    ]


def notes(rows: Sequence[Row]) -> list[str]:
    """How each way grows at the end of each axis, in words."""
    said = [f"{curve.axis}, {curve.way}: {curve.power:.2f}" for curve in curves(rows) if len(curve.sizes) > 1]
    return [
        f"Time grows with this power of the size (of the area, for sides), over the three largest: {'; '.join(said)}."
    ]


def failures(rows: Sequence[Row]) -> list[str]:
    """Where this library grows faster than in proportion."""
    own = (curve for curve in curves(rows) if curve.way.startswith("rcnn") and len(curve.sizes) > 1)
    return [
        f"{curve.axis}, {curve.way}: time grows with power {curve.power:.2f} of the size, allowed {LINEAR}"
        for curve in own
        if curve.power > LINEAR
    ]


def draw(rows: Sequence[Row], file: Path) -> None:
    """A plot an axis, both scales logarithmic, a line a way; memory below where it was measured."""
    from matplotlib.figure import Figure

    found = curves(rows)
    axes, tall = list(dict.fromkeys(curve.axis for curve in found)), 1 + any(curve.memory for curve in found)
    ways = list(dict.fromkeys(curve.way for curve in found))  # each has its colour on all axes
    figure = Figure((4 * len(axes), 3.2 * tall), layout="constrained")
    grid = figure.subplots(tall, len(axes), squeeze=False)
    for curve in found:
        column = grid[:, axes.index(curve.axis)]
        look = {"label": curve.way, "color": f"C{ways.index(curve.way)}"}
        column[0].loglog(curve.sizes, [1000 * value for value in curve.seconds], "o-", **look)
        if len(curve.memory) == len(curve.sizes):
            column[-1].loglog(curve.sizes, curve.memory, "o-", **look)
    for plot in grid.flat:
        plot.set_xticks([])
        plot.minorticks_off()
    for place, axis in enumerate(axes):
        sizes = next(curve.sizes for curve in found if curve.axis == axis)
        for plot, unit in zip(grid[:, place], ("milliseconds", "MiB"), strict=False):
            plot.set(title=axis, ylabel=unit)
            plot.set_xticks(sizes, [f"{size:g}" for size in sizes])
            plot.grid(visible=True, alpha=0.3)
    lines = {line.get_label(): line for plot in grid[0] for line in plot.lines}
    figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=len(lines))
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


CLOSING = Closing(notes, failures, draw)
