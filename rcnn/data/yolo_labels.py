"""One of YOLO's label files: a line an object, a class number and a box or an outline in parts of the picture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rcnn.data.defects import DefectError, Size
from rcnn.data.objects import Box, TrueObject, numbers, show

MOST = 2.0
"""Parts of a picture: larger numbers are none, but pixels."""


@dataclass(frozen=True)
class Line:
    """A line of a label file that is not empty: its number, from 1, and its columns."""

    number: int
    columns: Sequence[str]

    @property
    def has_confidence(self) -> bool:
        """Whether it is a box with a sixth column, as predictions have."""
        return len(self.columns) == 6


def read_lines(file: Path) -> list[Line]:
    """The lines of a label file; raises OSError where it cannot be read."""
    lines = file.read_text("utf-8-sig", errors="replace").splitlines()
    return [Line(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]


def looks_like_labels(file: Path) -> bool:
    """Whether a text file begins with a line of at least five numbers."""
    try:
        with file.open("rb") as stream:
            head = stream.read(1 << 16)
    except OSError:  # a link that leads nowhere, say
        return False
    first = next((line for line in head.splitlines() if line.strip()), b"")
    return len(first.split()) >= 5 and all(_is_number(word) for word in first.split())


def from_yolo(box: Box, size: Size) -> Box:
    """(centre x, centre y, width, height) in parts of a picture of `size` as (x1, y1, x2, y2) in its pixels."""
    (x, y, width, height), (rows, columns) = box, size
    return (x - width / 2) * columns, (y - height / 2) * rows, (x + width / 2) * columns, (y + height / 2) * rows


def to_yolo(box: Box, size: Size) -> Box:
    """The inverse of `from_yolo`."""
    (x1, y1, x2, y2), (rows, columns) = box, size
    return (x1 + x2) / 2 / columns, (y1 + y2) / 2 / rows, (x2 - x1) / columns, (y2 - y1) / rows


def read_object(line: Line, names: Mapping[int, str] | None, size: Size) -> TrueObject:
    """The object of a line; an outline becomes the box around it. Raises DefectError where it is none.

    Without `names` a class is called by its number.
    """
    name = _class_name(line.columns[0], names)
    written = line.columns[1:]
    if len(written) in (4, 5):
        box = numbers(written[:4], name)
        if max(map(abs, box)) > MOST:
            raise DefectError("outside", f"box {show(written)} is not in parts of the picture, 0 to 1: pixels?", name)
        return TrueObject(name, from_yolo(box, size), written[:4])
    if len(written) >= 6 and len(written) % 2 == 0:
        return TrueObject(name, _around(written, name, size), written)
    raise DefectError("broken-entry", f"has {len(line.columns)} columns; a box has 5, an outline 7, 9 or more", name)


def _around(written: Sequence[str], name: str, size: Size) -> Box:
    points = [numbers((x, y, x, y), name)[:2] for x, y in zip(written[::2], written[1::2], strict=True)]
    if max(abs(value) for point in points for value in point) > MOST:
        raise DefectError("outside", f"outline {show(written)} is not in parts of the picture, 0 to 1: pixels?", name)
    (rows, columns), (across, down) = size, zip(*points, strict=True)
    return min(across) * columns, min(down) * rows, max(across) * columns, max(down) * rows


def _class_name(word: str, names: Mapping[int, str] | None) -> str:
    try:
        value = float(word)
    except ValueError:
        raise DefectError("unknown-category", f"class '{word[:40]}' is not a number") from None
    if not math.isfinite(value) or value != int(value) or value < 0:
        raise DefectError("unknown-category", f"class {word[:40]} is not a whole number from 0 on")
    if names is None:
        return str(int(value))
    if int(value) not in names:
        known = f"{min(names)} to {max(names)}" if names else "none"
        raise DefectError("unknown-category", f"class {int(value)} has no name; named are {known}")
    return names[int(value)]


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
