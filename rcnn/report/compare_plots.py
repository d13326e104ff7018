"""The drawings of a comparison, as SVG that stands inside a page and takes its colours for text."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

FEWEST_TICKS = 3
COLOURS = ("#3b7dd8", "#e08214", "#2a9d6f", "#c6467c", "#8a6fd1", "#7f7f7f")
"""Legible on white and on black."""
_PUBLISHED = {"paper": "#9a968c"}
_BESIDE = (((9, -3), "left"), ((5, -14), "left"), ((5, 9), "left"), ((-9, -3), "right"), ((-5, 9), "right"))
"""Where a name may stand: how far from its point, and on which side of it the name's own end is."""
_INK = "#010203"  # drawn with this, then replaced by the colour of the page's text
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
}


@dataclass(frozen=True)
class Bars:
    """Horizontal bars, one a label; each series' bar after the last one's (`stacked`) or below it."""

    title: str
    caption: str
    labels: tuple[str, ...]
    series: Mapping[str, Sequence[float | None]]
    unit: str
    stacked: bool = False
    log: bool = False


@dataclass(frozen=True)
class Lines:
    """Points joined by lines, one a series: (x, y)."""

    title: str
    caption: str
    series: Mapping[str, Sequence[tuple[float | None, float | None]]]
    x: str
    y: str
    log: bool = False
    joined: bool = True
    """False: points, each with its series' name beside it."""


Plot = Bars | Lines


def draw(plot: Plot) -> "Figure":
    """The drawing, in the colours of a white page."""
    from matplotlib.figure import Figure

    with styled():
        rows = len(plot.labels) * (1 if plot.stacked else len(plot.series)) if isinstance(plot, Bars) else 0
        figure = Figure(figsize=(5.6, 1.3 + 0.3 * rows if rows else 3.6), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        if isinstance(plot, Bars):
            _draw_bars(axes, plot)
        else:
            _draw_lines(axes, plot)
            if not plot.joined:
                figure.draw_without_rendering()  # where things are is known after this
                name_points(axes, _named(plot), size="small", all_of_them=True)
    return figure


def svg(plot: Plot) -> str:
    """The drawing as an element of a page."""
    return element(draw(plot), plot.title)


def element(figure: "Figure", label: str) -> str:
    """A figure drawn in this style, as an element: without a prolog, its names its own, its ink the page's.

    The label is what is read aloud in its place.
    """
    content = io.StringIO()
    with styled({"svg.hashsalt": label}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(content, format="svg", transparent=True, metadata=nothing)
    text = content.getvalue()
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text[text.index("<svg") :]).replace("xlink:href", "href")
    named = f'role="img" aria-label="{escape(label, quote=True)}"'
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', lambda head: f"<svg {head[1]} {named}>", text, count=1)
    used = set(re.findall(r"#([\w.-]+)", text))  # the other names would be those of the next drawing too
    text = re.sub(r' id="([^"]*)"', lambda name: name[0] if name[1] in used else "", text)
    return text.replace(_INK, "currentColor")


def styled(more: Mapping[str, Any] | None = None) -> Any:
    """A context in which figures are drawn in this style."""
    from matplotlib import rc_context

    return rc_context(_STYLE | dict(more or {}))


def _draw_bars(axes: "Axes", plot: Bars) -> None:
    known = {name: [value or 0.0 for value in values] for name, values in plot.series.items()}
    height = 0.7 if plot.stacked else 0.8 / len(known)
    left = [0.0] * len(plot.labels)
    for number, (name, values) in enumerate(known.items()):
        places = [row + (0 if plot.stacked else number * height) for row in range(len(values))]
        colour = _PUBLISHED.get(name, COLOURS[number % len(COLOURS)])
        axes.barh(places, values, height * 0.92, left=left, color=colour, label=name)
        if plot.stacked:
            left = [a + b for a, b in zip(left, values, strict=True)]
        else:
            _write_values(axes, places, plot.series[name])
    if plot.stacked:
        _write_values(axes, list(range(len(left))), left)
    middle = 0 if plot.stacked else (len(known) - 1) * height / 2
    axes.set_yticks([row + middle for row in range(len(plot.labels))], plot.labels)
    axes.invert_yaxis()
    axes.margins(x=0.16)
    axes.set_xlabel(plot.unit)
    if plot.log:
        axes.set_xscale("log")
    if plot.unit.endswith("%"):
        _end_at_100(axes.xaxis)
    if len(known) > 1:
        axes.figure.legend(loc="outside upper left", ncols=3, fontsize="small", frameon=False)


def _write_values(axes: "Axes", places: Sequence[float], values: Sequence[float | None]) -> None:
    for place, value in zip(places, values, strict=True):
        if value is not None:
            text = f" {value:,.0f}" if value >= 100 else f" {value:.3g}"
            axes.annotate(text, (value, place), va="center", fontsize="small")


def _draw_lines(axes: "Axes", plot: Lines) -> None:
    for number, (name, points) in enumerate(plot.series.items()):
        known = [(x, y) for x, y in points if x is not None and y is not None]
        xs, ys = ([point[part] for point in known] for part in (0, 1))
        axes.plot(xs, ys, "o-" if plot.joined else "o", color=COLOURS[number % len(COLOURS)], label=name)
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    axes.margins(0.12 if plot.joined else 0.25, 0.12)  # beside single points stand their names
    if plot.log:
        axes.set_xscale("log")
        xs = sorted({x for points in plot.series.values() for x, _ in points if x})
        ticks = _apart(xs) if plot.joined else round_between(*axes.get_xlim())
        axes.set_xticks(ticks, [short(tick) for tick in ticks])
        axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.autoscale_view()
    if plot.y.endswith("%"):
        _end_at_100(axes.yaxis)
    if plot.joined and len(plot.series) > 1:
        axes.legend(fontsize="small", frameon=False)


def _named(plot: Lines) -> list[tuple[str, tuple[float, float]]]:
    """Each known point under its series' name."""
    points = [(name, x, y) for name, series in plot.series.items() for x, y in series]
    return [(name, (x, y)) for name, x, y in points if x is not None and y is not None]


def name_points(
    axes: "Axes", named: Sequence[tuple[str, tuple[float, float]]], size: str, all_of_them: bool = False
) -> None:
    """Write names beside their points, the first first, where there is room, or `all_of_them` anyhow."""
    from matplotlib.transforms import Bbox

    spots = axes.transData.transform([place for _, place in named])
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in spots]
    for name, place in named:
        for number, (offset, side) in enumerate(_BESIDE, start=1):
            text = axes.annotate(name, place, offset, textcoords="offset points", fontsize=size, ha=side)
            box = text.get_window_extent()
            free = axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1) and not box.count_overlaps(taken)
            if free or (all_of_them and number == len(_BESIDE)):
                taken.append(box)
                break
            text.remove()


def _end_at_100(axis: "Axis") -> None:
    """Ticks of percentages from 0 to 100; beyond is room for what stands beside the last point or bar."""
    axis.set_ticks([tick for tick in axis.get_ticklocs() if 0 <= tick <= 100])


def _apart(ordered: Sequence[float]) -> list[float]:
    """Of growing values those whose names do not run into each other on a logarithmic axis, from the first on."""
    least = (ordered[-1] / ordered[0]) ** 0.11
    kept: list[float] = []
    for value in ordered:
        if not kept or value >= kept[-1] * least:
            kept.append(value)
    return kept


def round_between(low: float, high: float) -> list[float]:
    """Round numbers between two, three at least: powers of ten, or 1, 2, 5, 10 ..., or evenly spaced ones."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5)):
        numbers = [step * 10.0**decade for decade in decades for step in steps]
        if len(inside := [number for number in numbers if low <= number <= high]) >= FEWEST_TICKS:
            return inside
    from matplotlib.ticker import MaxNLocator

    spaced = MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(number) for number in spaced if low <= number <= high]


def short(number: float) -> str:
    """A number as an axis has room for it."""
    if number >= 1e5:
        return f"{number / 1e6:.3g} M"
    return f"{number:,.0f}" if number >= 1000 else f"{number:.4g}"
