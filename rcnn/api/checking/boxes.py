"""The objects of a data set as the network meets them: in pixels of the resized pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from rcnn.data.defects import Size
from rcnn.data.preprocess import Preprocess
from rcnn.sample import Sample


@dataclass(frozen=True)
class InputBoxes:
    """G objects, one row each; sizes are heights and widths."""

    boxes: Float[np.ndarray, "G 4"]
    resized: Int[np.ndarray, "G 2"]
    """Of the picture that each is in."""
    canvas: Int[np.ndarray, "G 2"]
    """Onto which that picture is laid."""
    names: tuple[str, ...]
    counted: Bool[np.ndarray, "G"]
    """False for crowds, which no anchor learns."""

    @property
    def sides(self) -> Float[np.ndarray, "G"]:
        """Of squares of the boxes' areas."""
        return np.sqrt((self.boxes[:, 2:] - self.boxes[:, :2]).prod(axis=1))

    @property
    def ratios(self) -> Float[np.ndarray, "G"]:
        """Heights over widths."""
        widths, heights = (self.boxes[:, 2:] - self.boxes[:, :2]).T
        return heights / widths

    def keep(self, rows: np.ndarray) -> "InputBoxes":
        """Some of the objects, by a mask or by their numbers."""
        chosen = np.flatnonzero(rows) if rows.dtype == bool else rows
        names = tuple(self.names[row] for row in chosen)
        return InputBoxes(self.boxes[chosen], self.resized[chosen], self.canvas[chosen], names, self.counted[chosen])


def input_boxes(
    samples: Sequence[Sample], sizes: Mapping[str, Size], preprocess: Preprocess, difficult: bool = True
) -> InputBoxes:
    """The objects of those samples whose picture's size is known; `difficult`: whether such objects are counted."""
    known = [sample for sample in samples if sample.id in sizes]
    rows = [(sizes[sample.id], preprocess.resized(sizes[sample.id])) for sample in known]
    count = [len(sample.names) for sample in known]
    scales = [np.array([resized[1] / size[1], resized[0] / size[0]] * 2) for size, resized in rows]
    boxes = [sample.boxes * scale for sample, scale in zip(known, scales, strict=True)]
    counted = [~sample.crowd & (difficult | ~sample.difficult) for sample in known]  # type: ignore[operator]
    return InputBoxes(
        np.concatenate([*boxes, np.zeros((0, 4))]),
        np.repeat(np.array([resized for _, resized in rows], int).reshape(-1, 2), count, axis=0),
        np.repeat(np.array([preprocess.canvas(resized) for _, resized in rows], int).reshape(-1, 2), count, axis=0),
        tuple(name for sample in known for name in sample.names),
        np.concatenate([*counted, np.zeros(0, bool)]),
    )
