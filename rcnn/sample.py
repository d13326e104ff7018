"""The data protocol: one picture with its truth. Any iterable of samples can be trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8, UInt16

from rcnn.errors import DataError

Pixels = UInt8[np.ndarray, "_H _W _C"] | UInt16[np.ndarray, "_H _W _C"] | Float32[np.ndarray, "_H _W _C"]
"""A decoded picture, of a size of its own.

Three channels are red, green and blue; other numbers are whatever the data set says. Values count from 0 to 255
(uint8), to 65535 (uint16), or as the setting `input.range` says, which float32 needs.
"""

Picture = Path | str | Pixels | Callable[[], Pixels]
"""A file, an array, or a function that makes the array when it is needed."""

OBJECT_ROWS = ("boxes", "difficult", "crowd", "weight", "area")
"""What a sample has a row of for each object, beside its name."""


@dataclass(frozen=True)
class Sample:
    """A picture and what is in it.

    `boxes` are (x1, y1, x2, y2) in pixels of the picture as it is shown (EXIF rotation applied), x2 and y2
    exclusive. `names` are class names, the only public identity of a class. A `difficult` object is hard to
    recognise (VOC); a `crowd` box covers many objects at once (COCO). `weight` is what an object counts in the loss.
    `id` names the picture in results and keys its randomness, so it must be unique in a data set.
    """

    id: str
    picture: Picture
    boxes: Float[np.ndarray, "G 4"] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    names: tuple[str, ...] = ()
    difficult: Bool[np.ndarray, "G"] | None = None
    crowd: Bool[np.ndarray, "G"] | None = None
    weight: Float[np.ndarray, "G"] | None = None
    area: Float[np.ndarray, "G"] | None = None
    """Square pixels of each object, where a mask is known; else its box's. COCO's small/medium/large go by it."""
    coco_id: int | None = None
    """The picture's number in a COCO file, kept for results that are sent to a COCO server."""
    proposals: Float[np.ndarray, "P 4"] | None = None
    """Regions that may hold an object, best first, in the picture's pixels; for methods that make none themselves."""

    def __post_init__(self) -> None:
        """Fill what was left out, so that readers of a sample never meet None; refuse lengths that disagree."""
        count = len(self.names)
        if isinstance(self.picture, str):
            object.__setattr__(self, "picture", Path(self.picture))
        boxes = np.asarray(self.boxes, np.float32).reshape(-1, 4)
        object.__setattr__(self, "boxes", boxes)
        if self.proposals is not None:
            object.__setattr__(self, "proposals", np.asarray(self.proposals, np.float32).reshape(-1, 4))
        defaults = {
            "difficult": np.zeros(count, bool),
            "crowd": np.zeros(count, bool),
            "weight": np.ones(count),
            "area": (boxes[:, 2:] - boxes[:, :2]).astype(float).prod(axis=1),
        }
        for name, default in defaults.items():
            given = getattr(self, name)
            object.__setattr__(self, name, np.asarray(default if given is None else given, default.dtype))
        lengths = {"boxes": len(self.boxes)} | {name: len(getattr(self, name)) for name in defaults}
        for name, length in lengths.items():
            if length != count:
                raise DataError(f"sample {self.id}: {length} {name} but {count} names; give one of each per object")

    def keep(self, rows: Bool[np.ndarray, "G"]) -> "Sample":
        """The same with some of its objects."""
        names = tuple(name for name, kept in zip(self.names, rows, strict=True) if kept)
        return replace(self, names=names, **{name: getattr(self, name)[rows] for name in OBJECT_ROWS})

    def with_objects(self, parts: Sequence["Sample"]) -> "Sample":
        """The same with the objects of all `parts`, in turn, in place of its own."""
        rows: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in OBJECT_ROWS}
        return replace(self, names=tuple(name for part in parts for name in part.names), **rows)

    @property
    def regions(self) -> Float[np.ndarray, "P 4"]:
        """The proposals, be it none; raises DataError where nobody looked for any."""
        if self.proposals is None:
            raise DataError(f"sample {self.id}: has no proposals, which this method needs; make them with rcnn propose")
        return self.proposals


@dataclass(frozen=True)
class DataSet:
    """Samples by split (`train`, `val`, `test`, ...) and the class names, in the order of their labels 1..K."""

    splits: dict[str, list[Sample]]
    class_names: tuple[str, ...]
    category_ids: dict[str, int] = field(default_factory=dict)
    """Class name to its number in a COCO file; empty for other formats."""
    drawn: bool = False
    """True where the data has no splits of its own, so that they were drawn by chance."""
