"""What a sweep over ranks found: its points, its knee, its drawing."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rcnn.report.compare_plots import name_points, round_between, short
from rcnn.runs import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cost = Literal["milliseconds", "parameters"]
FULL = "full"
"""The path of the one point where nothing is truncated."""


@dataclass(frozen=True)
class SweepPoint:
    """A network with truncated layers, measured."""

    path: str
    """The curve that it lies on: `full`, the name of the one truncated layer, `together`, or `each its share`."""
    ranks: Mapping[str, int]
    """Of the truncated layers."""
    parameters: int
    """Weights and biases of all fully connected layers, the siblings left out."""
    ap: float
    ap50: float
    layers_ms: float
    """Milliseconds that these layers take for the regions of one picture."""
    picture_ms: float
    """Milliseconds of that whole picture, from its file to its detections; without proposals from elsewhere."""

    @property
    def svd(self) -> str:
        """The ranks as the command line takes them."""
        return ",".join(f"{name}={rank}" for name, rank in self.ranks.items())

    def to_json(self) -> dict[str, Any]:
        """The point as plain values."""
        values = asdict(self)
        return values | {"AP": values.pop("ap"), "AP50": values.pop("ap50")}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SweepPoint":
        """The point that `to_json` gave."""
        return cls(**{name.lower() if name in ("AP", "AP50") else name: value for name, value in values.items()})


@dataclass(frozen=True)
class Sweep:
    """All points of a run, and what they were measured with."""

    run: str
    split: str
    pictures: int
    regions: int
    """Of the picture that was timed."""
    machine: str
    repeats: int
    """Measurements of each time; the least counts."""
    points: tuple[SweepPoint, ...]
    """The full network first."""

    def to_json(self) -> dict[str, Any]:
        """The sweep as plain values."""
        return asdict(self) | {"points": [point.to_json() for point in self.points]}


def knee(points: Sequence[SweepPoint], tolerance: float, by: Cost = "milliseconds") -> SweepPoint:
    """The cheapest point whose AP50 is at most `tolerance` hundredths below that of the full network.

    Milliseconds are those of the fully connected layers: the rest of a picture costs the same at all points.
    """
    full = next(point for point in points if point.path == FULL)
    good = [point for point in points if holds(point, full, tolerance)]
    return min(good, key=lambda point: point.layers_ms if by == "milliseconds" else point.parameters)


def holds(point: SweepPoint, full: SweepPoint, tolerance: float) -> bool:
    """Whether a point loses at most `tolerance` hundredths of AP50."""
    return point.ap50 >= full.ap50 - tolerance / 100 - 1e-9


def draw_sweep(sweep: Sweep, chosen: SweepPoint, tolerance: float, file: Path) -> None:
    """AP50 and AP over parameters, over the layers' milliseconds and over the picture's, as a PNG file."""
    from matplotlib.figure import Figure

    points = sweep.points
    figure = Figure(figsize=(15, 8), layout="constrained")
    figure.suptitle(
        f"truncated SVD of {sweep.run}: {sweep.pictures} pictures of split {sweep.split}, "
        f"{sweep.regions} regions a picture, {sweep.machine}"
    )
    upper, lower = figure.subplots(2, 3, sharex="col", sharey="row")
    for top, bottom, (field, label) in zip(upper, lower, _COSTS.items(), strict=True):
        _draw_curves(top, points, field, "ap50")
        _draw_knee(top, points, chosen, tolerance, field)
        _draw_curves(bottom, points, field, "ap")
        bottom.set_xlabel(label)
        for axis in (top, bottom):
            axis.grid(alpha=0.3)
            axis.margins(0.1)
    _mark_parameters(upper[0], points)
    upper[0].set_ylabel("AP50")
    lower[0].set_ylabel("AP")
    figure.legend(*upper[0].get_legend_handles_labels(), loc="outside lower center", ncols=8, fontsize="small")
    figure.draw_without_rendering()  # where things are is known after this
    name_points(upper[0], names_of(sorted(points, key=lambda point: point is not chosen)), "x-small")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_bytes(file, content.getvalue())


_COSTS = {
    "parameters": "parameters of the fully connected layers",
    "layers_ms": "milliseconds of the fully connected layers",
    "picture_ms": "milliseconds of the whole picture",
}


def _draw_curves(axis: "Axes", points: Sequence[SweepPoint], field: str, accuracy: str) -> None:
    """A line for each path, from the full network on."""
    full = next(point for point in points if point.path == FULL)
    for number, path in enumerate(dict.fromkeys(point.path for point in points if point.path != FULL)):
        members = [full, *(point for point in points if point.path == path)]
        costs, found = ([getattr(point, name) for point in members] for name in (field, accuracy))
        axis.plot(costs, found, "o-", color=f"C{number}", label=path)
    axis.plot(getattr(full, field), getattr(full, accuracy), "ks", label=FULL)


def _draw_knee(axis: "Axes", points: Sequence[SweepPoint], chosen: SweepPoint, tolerance: float, field: str) -> None:
    """A ring around the chosen point, and the least AP50 that is allowed."""
    full = next(point for point in points if point.path == FULL)
    axis.axhline(full.ap50 - tolerance / 100, color="gray", linestyle=":", label=f"AP50 - {tolerance:g} points")
    label = f"knee: {chosen.svd or FULL}"
    axis.plot(getattr(chosen, field), chosen.ap50, "o", markersize=16, fillstyle="none", color="red", label=label)


def _mark_parameters(axis: "Axes", points: Sequence[SweepPoint]) -> None:
    """A logarithmic axis with ticks at round numbers."""
    axis.set_xscale("log")
    limits = axis.get_xlim()
    ticks = round_between(*limits)
    axis.set_xticks(ticks, [short(tick) for tick in ticks])
    axis.minorticks_off()
    axis.set_xlim(limits)


def names_of(points: Sequence[SweepPoint]) -> list[tuple[str, tuple[float, float]]]:
    """The ranks of each point, and where it lies."""
    ranks = ["/".join(str(rank) for rank in point.ranks.values()) or FULL for point in points]
    return [(name, (point.parameters, point.ap50)) for name, point in zip(ranks, points, strict=True)]
