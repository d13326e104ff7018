"""What the columns of a CSV file mean, told by its header, or by its first row where it has none."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rcnn.errors import DataError

DELIMITERS = ",;\t"
SPELLINGS: dict[str, tuple[str, ...]] = {
    "file": ("file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "image_name", "image_id",
             "imagepath", "imagename", "imageid", "img", "img_path", "picture", "path"),
    "class": ("class", "label", "class_name", "classname", "label_name", "labelname", "category", "category_name",
              "name"),
    "x1": ("x1", "xmin", "x_min", "left", "bbox_x1", "xtl"),
    "y1": ("y1", "ymin", "y_min", "top", "bbox_y1", "ytl"),
    "x2": ("x2", "xmax", "x_max", "right", "bbox_x2", "xbr"),
    "y2": ("y2", "ymax", "y_max", "bottom", "bbox_y2", "ybr"),
    "x": ("x", "bbox_x"),
    "y": ("y", "bbox_y"),
    "w": ("w", "box_width", "bbox_width", "bbox_w"),
    "h": ("h", "box_height", "bbox_height", "bbox_h"),
    "width": ("width", "image_width", "img_width"),
    "height": ("height", "image_height", "img_height"),
    "difficult": ("difficult",),
    "crowd": ("crowd", "iscrowd", "is_crowd"),
    "split": ("split", "subset", "set"),
}  # fmt: skip
"""The columns, and how their headers are spelled: in any case, with `_`, `-` or spaces between words.

Of several in one file the first here counts.
"""
BARE = ("file", "x1", "y1", "x2", "y2", "class")
"""The columns of a file without header."""
_CORNERS = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class Columns:
    """Where each column is, and how the four numbers of a box are to be read."""

    places: Mapping[str, int]
    box: tuple[str, str, str, str]
    has_extents: bool
    """Whether the last two numbers of a box are its width and height."""
    has_header: bool

    def cell(self, row: Sequence[str], name: str) -> str:
        """What a row has in a column; nothing where there is none."""
        place = self.places.get(name)
        return row[place].strip() if place is not None and place < len(row) else ""

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return name in self.places


def delimiter_of(line: str) -> str:
    """The sign that parts a line's columns: the one that makes most of them."""
    return max(DELIMITERS, key=lambda sign: len(next(csv.reader([line], delimiter=sign), [])))


def columns_of(first: Sequence[str]) -> Columns | None:
    """The columns that a file's first row shows; None where it is not a table of boxes."""
    if _is_bare(first):
        return Columns({name: place for place, name in enumerate(BARE)}, _CORNERS, False, False)
    headers = ["_".join(word.lower().strip(" #").replace("-", " ").split()) for word in first]
    spelled = {name: next((one for one in spellings if one in headers), None) for name, spellings in SPELLINGS.items()}
    places = {name: headers.index(spelling) for name, spelling in spelled.items() if spelling}
    box = _box(places)
    if box is None or "file" not in places or "class" not in places:
        return None
    return Columns(places, box, box[2] not in ("x2", "y2"), True)


def read_columns(first: Sequence[str], file: Path) -> Columns:
    """The columns that a file's first row shows; raises DataError that says what is missing."""
    columns = columns_of(first)
    if columns is None:
        raise DataError(
            f"{file}: columns {', '.join(word.strip() for word in first)[:120]}: not a table of boxes; name columns "
            "file,x1,y1,x2,y2,class (or x,y,w,h), or leave the header out and have these six"
        )
    return columns


def _is_bare(row: Sequence[str]) -> bool:
    """Whether a row has six columns of which the second to fifth are numbers, or empty."""
    cells = [cell.strip() for cell in row]
    return len(cells) == len(BARE) and bool(cells[0]) and (all(map(_is_number, cells[1:5])) or not any(cells[1:5]))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _box(places: Mapping[str, int]) -> tuple[str, str, str, str] | None:
    """The names of the four columns of a box: corners, or one corner with width and height.

    `width` and `height` are the picture's, unless nothing else could be the box's.
    """
    x, y = ("x1" if "x1" in places else "x"), ("y1" if "y1" in places else "y")
    if x not in places or y not in places:
        return None
    for right, bottom in (("x2", "y2"), ("w", "h"), ("width", "height")):
        if right in places and bottom in places:
            return x, y, right, bottom
    return None
