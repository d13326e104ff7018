"""From the objects of an annotation, good and bad, to a sample and findings: common to all formats."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import NamedTuple, TypeVar

import numpy as np

from rcnn.data.defects import DefectError, Finding, Size
from rcnn.data.picture import picture_sizes
from rcnn.errors import DataError
from rcnn.sample import Sample

Box = tuple[float, float, float, float]

ROUNDING = 0.5
"""Pixels by which a box may reach outside unmentioned: what rounded coordinates amount to."""

INVERTED = "has its corners in the wrong order"

LEAST_SIDE = 0.01
"""Pixels: a thinner box may lose its area when its corners become 32-bit floats."""

Raw = TypeVar("Raw")


@dataclass(frozen=True)
class TrueObject:
    """One object as annotated; `box` is (x1, y1, x2, y2) in pixels, x2 and y2 exclusive."""

    name: str
    box: Box
    written: Sequence[object]
    """The numbers as they stand in the file, for messages."""
    difficult: bool = False
    crowd: bool = False
    area: float | None = None


def numbers(values: Sequence[object], class_name: str | None = None) -> Box:
    """Four finite numbers; raises DefectError if there are others, or what is no number."""
    try:
        if any(isinstance(value, str) and "_" in value for value in values):
            raise ValueError("1_000 is a number to Python alone")
        first, second, third, fourth = (float(value) for value in values)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        first = second = third = fourth = math.nan
    if not all(map(math.isfinite, (first, second, third, fourth))):
        raise DefectError("not-a-number", f"box {show(values)} is not four numbers", class_name)
    return first, second, third, fourth


def show(values: Sequence[object]) -> str:
    """Numbers, or what stands in their place, for a message of one line."""
    words = [f"{value:g}" if isinstance(value, float) else " ".join(str(value).split()) for value in values]
    return f"({shorten(', '.join(words), 80, placeholder='...')})"


class Frame:
    """The edges of a picture: as its annotation tells, unless that is silent or a box does not fit; then its header.

    The header is read at most once. Where EXIF turns the picture, a box that only fits it as stored is left whole, so
    that the check of pictures can tell what happened.
    """

    def __init__(self, picture: Path, size: Size | None) -> None:
        self.picture = picture
        self._size = size
        self._stored: Size | None = None
        self._is_true = False

    def fit(self, found: TrueObject) -> tuple[Box, float]:
        """The box cut at the edges, and by how many pixels; raises DefectError if nothing is left.

        Corners in the wrong order are a defect that can be mended.
        """
        x1, y1, x2, y2 = found.box
        if x1 > x2 or y1 > y2:
            mended = replace(found, box=(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)))
            raise DefectError("inverted", f"box {show(found.written)} {INVERTED}", found.name, mended)
        if _is_flat(found.box):
            raise DefectError("no-area", f"box {show(found.written)} has no area", found.name)
        if not self._is_true and (self._size is None or _cut(found.box, self._size)[1]):
            self._is_true = True
            self._size, self._stored = _sizes_in_header(self.picture) or (self._size, None)
        box, overrun = _cut(found.box, self._size)
        if overrun > ROUNDING and self._stored not in (None, self._size) and not _cut(found.box, self._stored)[1]:
            box, overrun = found.box, 0.0
        if _is_flat(box):
            shown = f" of {self._size[1]}x{self._size[0]} pixels" if self._size else ""
            raise DefectError("outside", f"box {show(found.written)} lies outside its picture{shown}", found.name)
        return box, overrun


class Made(NamedTuple):
    """A sample as it was read."""

    sample: Sample
    findings: list[Finding]
    numbers: tuple[int, ...]
    """Of the sample's objects in the file."""


def make_sample(
    sample_id: str, raws: Iterable[tuple[int, Raw]], read: Callable[[Raw], TrueObject], frame: Frame, file: Path
) -> Made:
    """The sample of those objects that `read` accepts and that lie in the picture, and findings on the others.

    `raws` are what stands for each object in `file`, with the number by which a person finds it there. Boxes that reach
    over the picture's edge are cut there.
    """
    kept: dict[int, tuple[TrueObject, Box]] = {}
    findings: list[Finding] = []
    for number, raw in raws:
        try:
            found = read(raw)
            box, overrun = frame.fit(found)
        except DefectError as defect:
            mended = _mended(sample_id, defect, frame)
            findings.append(replace(defect.finding(file, number), mended=mended))
            continue
        kept[number] = found, box
        if overrun > ROUNDING:
            detail = f"box {show(found.written)} reaches {overrun:g} px over the picture's edge; cut there"
            findings.append(Finding("warning", "outside", str(file), number, found.name, detail))
    findings += _twice(kept, file)
    sample = _assemble(sample_id, frame.picture, list(kept.values()))
    return Made(sample, [replace(finding, picture=sample_id) for finding in findings], tuple(kept))


def _mended(sample_id: str, defect: DefectError, frame: Frame) -> Sample | None:
    """The defective object alone, as it can be mended, if it can."""
    if defect.mended is None:
        return None
    try:
        return _assemble(sample_id, frame.picture, [(defect.mended, frame.fit(defect.mended)[0])])
    except DefectError:
        return None


def _twice(kept: Mapping[int, tuple[TrueObject, Box]], file: Path) -> list[Finding]:
    """Findings on objects of the same class and box as one before."""
    first: dict[tuple[str, Box], int] = {}
    findings = []
    for number, (found, box) in kept.items():
        before = first.setdefault((found.name, box), number)
        if before != number:
            detail = f"box {show(found.written)} and class are those of object {before} again"
            findings.append(Finding("warning", "duplicate-box", str(file), number, found.name, detail))
    return findings


def _assemble(sample_id: str, picture: Path, kept: Sequence[tuple[TrueObject, Box]]) -> Sample:
    objects = [found for found, _ in kept]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) if found.area is None else found.area for found, box in kept]
    return Sample(
        sample_id,
        picture,
        np.array([box for _, box in kept], np.float32).reshape(-1, 4),
        tuple(found.name for found in objects),
        difficult=np.array([found.difficult for found in objects], bool),
        crowd=np.array([found.crowd for found in objects], bool),
        area=np.array(areas, float),
    )


def _cut(box: Box, size: Size | None) -> tuple[Box, float]:
    height, width = size or (math.inf, math.inf)
    x1, y1, x2, y2 = box
    cut = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    return cut, max(abs(a - b) for a, b in zip(box, cut, strict=True))


def _is_flat(box: Box) -> bool:
    return min(box[2] - box[0], box[3] - box[1]) < LEAST_SIDE


def _sizes_in_header(picture: Path) -> tuple[Size, Size] | None:
    try:
        return picture_sizes(picture)
    except DataError:
        return None  # the check of pictures tells why
