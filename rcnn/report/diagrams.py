"""What a detector does inside, on a picture: boxes, cells, bins and sample points drawn on matplotlib's axes.

Everything is in pixels of the picture that `show_picture` put there; cells of a map are `stride` pixels wide. The
colours are those of Okabe and Ito, which colour-blind people tell apart.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, UInt8

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILLION, GREEN, ORANGE, SKY, PURPLE, GRAY = (
    *("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7"),
    "#555555",
)


def new_figure(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple["Figure", Any]:
    """A figure of `width` x `height` inches and its axes, an array of rows x columns; no window, no global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def show_picture(axis: "Axes", picture: UInt8[np.ndarray, "H W 3"], title: str = "", fade: float = 0.45) -> None:
    """The picture without ticks, mixed with white by `fade` so that lines stand out; a title above it."""
    height, width = picture.shape[:2]
    faded = picture.astype(np.float32) * (1 - fade) + 255 * fade
    axis.imshow(faded.astype(np.uint8), extent=(0, width, height, 0), interpolation="bilinear")
    axis.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    axis.set_title(title, fontsize=9)


def show_boxes(axis: "Axes", boxes: Float[np.ndarray, "N 4"], colour: str, width: float = 1.2, **style: Any) -> None:
    """The outlines of boxes; `style` is that of matplotlib's rectangles, such as `linestyle` or `alpha`."""
    from matplotlib.patches import Rectangle

    for x1, y1, x2, y2 in np.asarray(boxes, float).reshape(-1, 4):
        edge = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=width, **style)
        axis.add_patch(edge)


def show_truth(axis: "Axes", boxes: Float[np.ndarray, "N 4"], width: float = 1.4) -> None:
    """True boxes: black dashes on white, which show on any ground."""
    show_boxes(axis, boxes, "white", width + 0.6)
    show_boxes(axis, boxes, "black", width, linestyle=(0, (3, 2)))


def show_cells(axis: "Axes", shape: tuple[int, int], stride: float, colour: str = GRAY, width: float = 0.4) -> None:
    """The borders of the cells of a map of `shape` (height, width in cells)."""
    height, width_cells = shape
    rows, columns = np.arange(height + 1) * stride, np.arange(width_cells + 1) * stride
    axis.hlines(rows, 0, width_cells * stride, colors=colour, linewidth=width, alpha=0.7)
    axis.vlines(columns, 0, height * stride, colors=colour, linewidth=width, alpha=0.7)


def show_bins(axis: "Axes", bins: Int[np.ndarray, "K 4"], stride: float, colours: Sequence[str], alpha: float) -> None:
    """Bins of cells (top, bottom, left, right; bottom and right exclusive), filled with `colours` in turn.

    Where bins overlap, their colours add up.
    """
    from matplotlib.patches import Rectangle

    for number, (top, bottom, left, right) in enumerate(np.asarray(bins, float) * stride):
        place, colour = ((left, top), right - left, bottom - top), colours[number % len(colours)]
        axis.add_patch(Rectangle(*place, facecolor=colour, alpha=alpha, linewidth=0))
        axis.add_patch(Rectangle(*place, fill=False, edgecolor=colour, linewidth=1.2))


def show_points(axis: "Axes", points: Float[np.ndarray, "N 2"], colour: str, size: float = 8.0) -> None:
    """Points given as x and y."""
    axis.scatter(points[:, 0], points[:, 1], s=size, c=colour, edgecolors="white", linewidths=0.4, zorder=3)


def show_map(axis: "Axes", values: Float[np.ndarray, "h w"], title: str = "", colours: str = "cividis") -> Any:
    """A map, a square a cell, in the map's own coordinates; returns matplotlib's image, for a colour bar."""
    height, width = values.shape
    image = axis.imshow(values, extent=(0, width, height, 0), cmap=colours, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=9)
    return image


def show_key(axis: "Axes", entries: dict[str, str], **place: Any) -> None:
    """A key below a picture: what each colour means; `dashed black` stands for true boxes."""
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=colour.split()[-1], linestyle="--" if " " in colour else "-", label=label, linewidth=2)
        for label, colour in entries.items()
    ]
    options: dict[str, Any] = {
        "loc": "upper center",
        "bbox_to_anchor": (0.5, -0.01),
        "ncols": len(lines),
        "frameon": False,
    } | place
    axis.legend(handles=lines, fontsize=8, handlelength=1.6, columnspacing=1.2, **options)
