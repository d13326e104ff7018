"""The two classic plots of proposals: recall against IoU, and against how many are looked at."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rcnn.evaluation.recall import SHOWN_NUMBERS, SHOWN_THRESHOLDS, ProposalRecall
from rcnn.report.formats import check_format
from rcnn.runs import write_bytes

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink", "tab:gray")
BY_NUMBER = ((":", 1.2), ("-.", 1.4), ("--", 1.6), ("-", 2.0))  # a line's style and width, for the fewest first
BY_THRESHOLD = (("-", 2.0), ("--", 1.6))


def draw_recall(measured: Mapping[str, ProposalRecall], path: Path) -> None:
    """Draw the recall of proposals, each under its name, into a picture file."""
    check_format(path)
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, (name, recall) in zip(_colours(len(measured)), measured.items(), strict=True):
        _against_iou(left, recall, colour, name if len(measured) > 1 else "")
        _against_number(right, recall, colour, name if len(measured) > 1 else "")
    left.set(xlabel="IoU with a true box, at least", xlim=(0.5, 1))
    right.set(xlabel="proposals a picture (best first)", xscale="log", xlim=(1, SHOWN_NUMBERS[-1]))
    right.xaxis.set_major_formatter("{x:,.0f}")
    for axes in (left, right):
        axes.set(ylabel="recall", ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", frameon=False)
    if len(measured) == 1:
        figure.suptitle(next(iter(measured)))
    content = BytesIO()
    figure.savefig(content, format=path.suffix[1:].lower(), dpi=130)
    write_bytes(path, content.getvalue())


def _against_iou(axes: Axes, recall: ProposalRecall, colour: str, name: str) -> None:
    for number, (style, width) in zip(SHOWN_NUMBERS, BY_NUMBER, strict=True):
        row = recall.table[recall.numbers.index(number)]
        label = f"{name} {number:,} proposals".strip()
        axes.plot(recall.thresholds, row, color=colour, linestyle=style, linewidth=width, label=label)


def _against_number(axes: Axes, recall: ProposalRecall, colour: str, name: str) -> None:
    for threshold, (style, width) in zip(SHOWN_THRESHOLDS, BY_THRESHOLD, strict=True):
        column = recall.table[:, recall.thresholds.index(threshold)]
        label = f"{name} IoU {threshold:g}".strip()
        axes.plot(recall.numbers, column, color=colour, linestyle=style, linewidth=width, label=label)


def _colours(count: int) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(count)]
