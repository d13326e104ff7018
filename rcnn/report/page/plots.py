"""The drawings of a report, as SVG that stands inside the page and takes its colours for text."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rcnn.report.compare_plots import COLOURS, element, styled
from rcnn.report.page.figures import Figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = tuple[Sequence[float | None], Sequence[float | None]]
MOST_CLASSES = 8
"""Curves in one drawing, or drawings of one class: those with the lowest AP."""
STYLES = ("-", "--", ":", "-.")


def losses(figures: Figures) -> str | None:
    """Losses over epochs."""
    names = {"train": "train_loss", "validation": "val_loss"}
    return _over_epochs(figures, names, "loss", "Losses of training and validation over epochs")


def scores(figures: Figures) -> str | None:
    """AP over epochs."""
    return _over_epochs(figures, {"AP": "AP", "AP50": "AP50"}, "AP", "AP and AP50 on the validation split over epochs")


def precision_recall(figures: Figures, classes: Sequence[int]) -> str:
    """Precision by recall, a line a class."""
    series = {}
    for place in classes:
        curve = figures.at("measured", "analysis", "curves", place)
        series[curve["name"]] = (curve["by_recall"]["recall"], curve["by_recall"]["precision"])
    return _draw(series, "recall", "precision", "Precision by recall at IoU 0.5, a line for each class", unit=True)


def by_threshold(figures: Figures, place: int) -> str:
    """Precision, recall and F1 of a class by the score from which it is shown."""
    curve = figures.at("measured", "analysis", "curves", place)
    series = {name: (curve["by_score"]["score"], curve["by_score"][name]) for name in ("precision", "recall", "F1")}
    label = f"Precision, recall and F1 of {curve['name']} by the score from which it is shown"
    return _draw(
        series, "score from which it is shown", "", label, size=(3.6, 2.6), unit=True, mark=curve["best_score"]
    )


def _over_epochs(figures: Figures, names: Mapping[str, str], y: str, label: str) -> str | None:
    epochs = _with_gaps(figures.at("training", "epochs") or [])
    xs = [epoch["epoch"] for epoch in epochs]
    series: dict[str, Points] = {name: (xs, [e[key] for e in epochs]) for name, key in names.items()}
    known = {name: points for name, points in series.items() if any(value is not None for value in points[1])}
    best = figures.at("training", "best_epoch") if len(epochs) > 1 else None
    return _draw(known, "epoch", y, label, mark=best, dots=len(xs) < 30, whole=True) if known else None


def _with_gaps(epochs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The epochs, with an empty one where a stage ends: what the next one learns is another loss."""
    apart: list[Mapping[str, Any]] = []
    for epoch in epochs:
        if apart and apart[-1]["stage"] != epoch["stage"]:
            nothing: dict[str, Any] = dict.fromkeys(epoch)
            apart.append(nothing | {"epoch": apart[-1]["epoch"], "stage": apart[-1]["stage"]})
        apart.append(epoch)
    return apart


def _draw(
    series: Mapping[str, Points],
    x: str,
    y: str,
    label: str,
    size: tuple[float, float] = (5.2, 3.2),
    unit: bool = False,
    mark: float | None = None,
    dots: bool = False,
    whole: bool = False,
) -> str:
    """Lines over each other; `mark` is a place on the x axis; `unit`: both axes go from 0 to 1."""
    from matplotlib.figure import Figure

    with styled():
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        for number, (name, (xs, ys)) in enumerate(series.items()):
            values = [float("nan") if value is None else value for value in ys]
            style: Any = {"color": COLOURS[number % len(COLOURS)], "linestyle": STYLES[number // len(COLOURS) % 4]}
            axes.plot(np.array(xs, float), values, marker="o" if dots else None, markersize=4, label=name, **style)
        if mark is not None:
            axes.axvline(mark, color="#7f7f7f", linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        _finish(axes, x, y, unit, whole)
        if len(series) > 1:
            figure.legend(loc="outside upper left", ncols=3, fontsize="small", frameon=False)
        return element(figure, label)


def _finish(axes: "Axes", x: str, y: str, unit: bool, whole: bool) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    limits: dict[str, Any] = {"xlim": (0, 1), "ylim": (0, 1.02)} if unit else {}
    axes.set(**limits)
    if whole:
        from matplotlib.ticker import MaxNLocator

        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=0)
