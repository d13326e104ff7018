"""How well the best anchor overlaps each object: what a Region Proposal Network can learn from, at most."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int

from rcnn import build
from rcnn.anchors import anchor_shapes
from rcnn.api.checking.boxes import InputBoxes
from rcnn.config import Config
from rcnn.ops.levels import shapes_of

Sizes = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Reach:
    """Finds the IoU of each object with the best anchor of its picture, for anchors of any size.

    No table of anchors is made. Two boxes of given sides overlap the more, the nearer their centres are in x and in y,
    so of all anchors of one shape and level the best has the nearest column and the nearest row. The columns and rows
    are those of `AnchorGrid` on the picture's canvas, as far as anchors take part (`Anchors.inside`).
    """

    found: InputBoxes
    steps: Int[np.ndarray, "L 2 G"]
    """Pixels between cells, in y and x, of each level on each object's canvas."""
    cells: Int[np.ndarray, "L 2 G"]
    """Rows and columns of cells that lie on the picture."""
    border: bool = True
    """Whether anchors that cross the picture's border take part."""

    def best(self, sizes: Sizes, ratios: Sequence[float]) -> Float[np.ndarray, "G"]:
        """The highest IoU with any anchor; 0 where no anchor takes part."""
        return np.max([self.of_level(level, sides, ratios) for level, sides in enumerate(sizes)], axis=0)

    def of_level(self, level: int, sides: Sequence[float], ratios: Sequence[float]) -> Float[np.ndarray, "G"]:
        """The highest IoU with any anchor of one level."""
        half = anchor_shapes(sides, ratios).numpy().astype(float)[:, :1:-1].T[..., None]  # [2, k, 1], in y and x
        low, high = self.found.boxes[:, 1::-1].T[:, None], self.found.boxes[:, :1:-1].T[:, None]  # [2, 1, G]
        centre = self._nearest(level, (low + high) / 2, half)
        common = np.minimum(high, centre + half) - np.maximum(low, centre - half)
        inner = common.clip(0).prod(axis=0)  # [k, G]
        union = (4 * half.prod(axis=0)) + (high - low).prod(axis=0) - inner
        return np.where(np.isfinite(centre).all(axis=0) & (union > 0), inner / np.maximum(union, 1e-9), 0).max(axis=0)

    def _nearest(
        self, level: int, centre: Float[np.ndarray, "2 1 G"], half: Float[np.ndarray, "2 k 1"]
    ) -> Float[np.ndarray, "2 k G"]:
        """The place, in y and x, of the cell nearest to each centre; NaN where no anchor of that shape takes part."""
        step = self.steps[level][:, None].astype(float)  # [2, 1, G]
        first, last = np.zeros_like(step), self.cells[level][:, None] - 1.0
        if not self.border:
            edge = self.found.resized.T[:, None]
            first, last = np.ceil(half / step), np.minimum(last, np.floor((edge - half) / step))
        place = np.round(centre / step)
        clipped = np.minimum(np.maximum(place, first), last) * step
        return np.where(first <= last, clipped, np.nan)


Cells = Callable[[int], tuple[int, ...]]
"""From a side of the canvas to the cells along it of each level."""


def reach(found: InputBoxes, config: Config, cells: Cells) -> Reach:
    """The anchors of a detector of these settings, with `cells_of` them, at the objects that count."""
    counted = found.keep(found.counted)
    sides = sorted(set(counted.canvas.ravel().tolist()))
    table = {side: cells(side) for side in sides}
    levels = len(config.model.rpn.anchor_sizes)
    on_canvas = np.array([[table[side] for side in row] for row in counted.canvas.tolist()], int)
    on_canvas = on_canvas.reshape(-1, 2, levels).transpose(2, 1, 0)  # [L, 2, G]
    steps = counted.canvas.T // np.maximum(on_canvas, 1)
    edge = (counted.resized.T + 31) // 32 * 32
    return Reach(counted, steps, np.minimum(on_canvas, -(-edge // steps)), config.model.rpn.border)


def cells_of(config: Config) -> Cells:
    """The network itself tells its cells, without numbers.

    What convolutions and poolings make of a height does not depend on the width.
    """
    with torch.device("meta"):
        model, _ = build.detector(build.resolved(config, False), 1)

    @cache
    def cells(side: int) -> tuple[int, ...]:
        with torch.no_grad():
            levels = model.backbone(torch.empty(1, config.input.channels, side, side, device="meta"))
        return tuple(height for height, _ in shapes_of(levels))

    return cells
