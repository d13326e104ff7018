"""What a sweep over ranks found: its points, its knee, its drawing."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
    figure = Figure(figsize=(15, 5.5), layout="constrained")
    figure.suptitle(
        f"truncated SVD of {sweep.run}: {sweep.pictures} pictures of split {sweep.split}, "
        f"{sweep.regions} regions a picture, {sweep.machine}"
    )
    axes = figure.subplots(1, 3, sharey=True)
    for axis, (field, label) in zip(axes, _COSTS.items(), strict=True):
        _draw_curves(axis, points, field)
        _draw_knee(axis, points, chosen, tolerance, field)
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_xscale("log")
    axes[0].set_ylabel("AP50 (filled) and AP (hollow)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=8, fontsize="small")
    for point in points:
        _name(axes[0], point)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_bytes(file, content.getvalue())


_COSTS = {
    "parameters": "parameters of the fully connected layers",
    "layers_ms": "milliseconds of the fully connected layers",
    "picture_ms": "milliseconds of the whole picture",
}


def _draw_curves(axis: "Axes", points: Sequence[SweepPoint], field: str) -> None:
    """A line for each path, from the full network on."""
    full = next(point for point in points if point.path == FULL)
    for number, path in enumerate(dict.fromkeys(point.path for point in points if point.path != FULL)):
        members = [full, *(point for point in points if point.path == path)]
        costs = [getattr(point, field) for point in members]
        colour = f"C{number}"
        axis.plot(costs, [point.ap50 for point in members], "o-", color=colour, label=path)
        axis.plot(costs, [point.ap for point in members], "o--", color=colour, markerfacecolor="white")
    axis.plot(getattr(full, field), full.ap50, "ks", label=FULL)


def _draw_knee(axis: "Axes", points: Sequence[SweepPoint], chosen: SweepPoint, tolerance: float, field: str) -> None:
    """A ring around the chosen point, and the least AP50 that is allowed."""
    full = next(point for point in points if point.path == FULL)
    axis.axhline(full.ap50 - tolerance / 100, color="gray", linestyle=":", label=f"AP50 - {tolerance:g} points")
    label = f"knee: {chosen.svd or FULL}"
    axis.plot(getattr(chosen, field), chosen.ap50, "o", markersize=16, fillstyle="none", color="red", label=label)


def _name(axis: "Axes", point: SweepPoint) -> None:
    ranks = "/".join(str(rank) for rank in point.ranks.values()) or FULL
    place = (point.parameters, point.ap50)
    axis.annotate(ranks, place, xytext=(7, -3), textcoords="offset points", fontsize="x-small")
