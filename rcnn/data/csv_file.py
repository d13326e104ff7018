"""One CSV file: its rows by split and picture, and the object of a row."""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rcnn.data.coco_layout import Pictures
from rcnn.data.csv_columns import Columns, columns_of, delimiter_of, read_columns
from rcnn.data.defects import DefectError, Finding, Kind, Level, Size
from rcnn.data.files import SPLIT_NAMES
from rcnn.data.objects import Box, TrueObject, numbers, show
from rcnn.data.places import inside, is_absolute, slashed, tail_in
from rcnn.errors import DataError

_HEAD = 1 << 16
"""Bytes in which a file shows its first row."""
_YES = ("1", "1.0", "true", "yes")


@dataclass(frozen=True)
class Row:
    """A row of a file, at the number of its line, from 1."""

    line: int
    cells: Sequence[str]


@dataclass
class CsvReading:
    """The rows of one file: those with a box by split ("" where none is told) and picture."""

    file: Path
    columns: Columns
    rows: dict[str, dict[Path, list[Row]]] = field(default_factory=dict)
    sizes: dict[Path, Size] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def blame(self, kind: Kind, detail: str, line: int | None = None, level: Level = "error") -> None:
        """Adds a finding on a line, or on the file as a whole."""
        self.findings.append(Finding(level, kind, str(self.file), line, None, detail))


def looks_like_csv(file: Path) -> bool:
    """Whether the first row of a file is the header, or the first box, of a table of boxes."""
    try:
        with file.open("rb") as stream:
            head = stream.read(_HEAD).decode("utf-8-sig", errors="replace").strip()
        line = head.partition("\n")[0]
        return columns_of(next(csv.reader([line], delimiter=delimiter_of(line)), [])) is not None
    except (OSError, csv.Error):  # a link that leads nowhere, say
        return False


def read_csv_file(file: Path, root: Path, split: str | None) -> CsvReading:
    """The rows of a file whose pictures are in `root`; raises DataError where it is not a table of boxes.

    `split` is what the file's name tells; a column of that name goes before it.
    """
    rows = _rows(file)
    first = next(rows, Row(0, ()))
    reading = CsvReading(file, read_columns(first.cells, file))
    finder = _Finder(root, Pictures(file, root, split), reading)
    if not reading.columns.has_header:
        _sort_in(first, split, finder)
    for row in rows:
        _sort_in(row, split, finder)
    if finder.moved:
        detail = f"{len(finder.moved)} pictures, as {finder.moved[0]}, are found by the ends of their paths alone"
        reading.blame("wrong-path", detail, level="warning")
    _refuse_parts(reading)
    return reading


def read_object(row: Row, columns: Columns) -> TrueObject:
    """The object of a row; raises DefectError where it is none."""
    name = " ".join(columns.cell(row.cells, "class").split())
    written = _box_cells(row, columns)
    if not name:
        raise DefectError("no-name", "has no class name")
    box = numbers(written, name)
    if columns.has_extents:
        box = box[0], box[1], box[0] + box[2], box[1] + box[3]
    if box[0] == box[2] or box[1] == box[3]:
        raise DefectError("no-area", f"box {show(written)} has no area", name)
    flags = {flag: columns.cell(row.cells, flag).lower() in _YES for flag in ("difficult", "crowd")}
    return TrueObject(name, box, written, **flags)


def _rows(file: Path) -> Iterator[Row]:
    try:
        text = file.read_text("utf-8-sig")
        delimiter = delimiter_of(text.strip().partition("\n")[0])
        lines = io.StringIO(text, newline=None)
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield Row(reader.line_num, cells)
    except UnicodeDecodeError:
        raise DataError(f"{file}: not UTF-8 text; save it as CSV UTF-8") from None
    except (OSError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as CSV ({error}); export it anew") from None


class _Finder:
    """Finds the picture that a row names, each once."""

    def __init__(self, root: Path, pictures: Pictures, reading: CsvReading) -> None:
        self.reading = reading
        self.moved: list[str] = []
        self._root = root
        self._pictures = pictures
        self._known: dict[str, Path | DefectError] = {}

    def find(self, written: str) -> Path:
        """The picture; raises DefectError where there is none, or outside of the data folder."""
        name = slashed(written)
        if name not in self._known:
            try:
                self._known[name] = self._look_for(name)
            except DefectError as defect:
                self._known[name] = defect
        found = self._known[name]
        if isinstance(found, DefectError):
            raise found
        return found

    def _look_for(self, name: str) -> Path:
        if not name:
            raise DefectError("missing-picture", "names no picture")
        starts = (self._root, self.reading.file.parent)
        stays = any(inside(self._root, start / name) for start in starts)
        if stays:
            found = self._pictures.find(name)
        elif is_absolute(name):  # of another machine, perhaps
            found = tail_in(self._root, name) or self._pictures.find(os.path.basename(name))
            self.moved += [name] if found else []
        else:
            found = None
        if found is not None and found.is_file() and inside(self._root, found):
            return Path(os.path.normpath(found))
        if not stays and (not is_absolute(name) or Path(name).exists()):
            raise DefectError("outside-folder", f"picture {name} is outside of the data folder {self._root}; not read")
        raise DefectError("missing-picture", self._pictures.missing(name))


def _sort_in(row: Row, split: str | None, finder: _Finder) -> None:
    reading, columns = finder.reading, finder.reading.columns
    own = columns.cell(row.cells, "split")
    if columns.has("split") and not own:
        reading.blame("not-in-split", "names no split; left out", row.line, "warning")
        return
    try:
        picture = finder.find(columns.cell(row.cells, "file"))
    except DefectError as defect:
        reading.findings.append(defect.finding(reading.file, row.line))
        return
    chosen = SPLIT_NAMES.get(own.lower(), own) if own else split or ""
    rows = reading.rows.setdefault(chosen, {}).setdefault(picture, [])
    rows += [row] if any(_box_cells(row, columns)) else []
    size = _size(row, columns)
    if size:
        reading.sizes[picture] = size


def _box_cells(row: Row, columns: Columns) -> list[str]:
    return [columns.cell(row.cells, name) for name in columns.box]


def _size(row: Row, columns: Columns) -> Size | None:
    """Height and width of the picture, where columns that are not the box's tell them."""
    if "width" in columns.box or not (columns.has("width") and columns.has("height")):
        return None
    try:
        height, width = (int(float(columns.cell(row.cells, side))) for side in ("height", "width"))
    except (ValueError, OverflowError):
        return None
    return (height, width) if height > 0 and width > 0 else None


def _refuse_parts(reading: CsvReading) -> None:
    """Raise DataError where all boxes are in parts of their pictures, which would be read as less than a pixel."""
    rows = [row for part in reading.rows.values() for picture in part.values() for row in picture]
    boxes: list[Box] = []
    for row in rows:
        try:
            boxes.append(numbers(_box_cells(row, reading.columns)))
        except DefectError:
            continue
    if boxes and max(map(max, boxes)) <= 1 and any(value % 1 for box in boxes for value in box):
        raise DataError(f"{reading.file}: all boxes lie between 0 and 1; give them in pixels of their pictures")
