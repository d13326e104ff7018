"""From a path to a data set: its format is told by looking."""

import difflib
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from rcnn.choices import Format
from rcnn.data.coco import read_coco
from rcnn.data.coco_layout import looks_like_coco
from rcnn.data.csv import SUFFIXES, read_csv
from rcnn.data.csv_file import looks_like_csv
from rcnn.data.defects import OpenedData
from rcnn.data.files import files_under
from rcnn.data.voc import looks_like_voc, read_voc
from rcnn.data.yolo import looks_like_yolo, read_yolo
from rcnn.errors import DataError
from rcnn.paths import refuse_missing_data

READERS: dict[str, Callable[[Path, int], OpenedData]] = {
    "voc": read_voc,
    "coco": read_coco,
    "yolo": read_yolo,
    "csv": read_csv,
}

_LOOKED_FOR = (
    "VOC (XML files that begin with <annotation>), COCO (JSON with images, annotations and categories), "
    "YOLO (data.yaml, or images and labels) or CSV (columns file,x1,y1,x2,y2,class)"
)
_OF_FILE: dict[str, Format] = {".json": "coco", ".yaml": "yolo", ".yml": "yolo", ".csv": "csv", ".tsv": "csv"}


def open_data(path: Path, format: str | None = None, seed: int = 0) -> OpenedData:
    """The data set at `path`, a folder or a file of COCO, YOLO or CSV, with findings on what is wrong in it.

    Defective objects and pictures are left out and reported; `enforce` decides what follows. `seed` draws the splits
    of a data set that has none. Raises DataError if nothing is there, or in none of the known forms.
    """
    path = Path(path)
    refuse_missing_data(path)
    if format is not None and format not in READERS:
        known = " or ".join((", ".join(list(READERS)[:-1]), list(READERS)[-1]))
        raise DataError(f"format '{format}': not known{_nearest(format.lower(), READERS)}; give {known}")
    if format == "voc" and path.is_file():
        raise DataError(f"{path}: a file; VOC data is a folder: give that")
    return READERS[format or recognise(path)](path, seed)


def recognise(path: Path) -> Format:
    """The format of the data set at `path`; raises DataError saying what was looked for and what was found."""
    if path.is_file():
        if path.suffix.lower() in _OF_FILE:
            return _OF_FILE[path.suffix.lower()]
        kind = path.suffix or "nameless"
        raise DataError(f"{path}: a {kind} file; give a folder, or the file of COCO (.json), YOLO (.yaml) or CSV data")
    if not any(path.iterdir()):
        raise DataError(f"{path}: an empty folder; give one with {_LOOKED_FOR}")
    found = formats_in(path)
    if len(found) > 1:
        what = f"both {found[0].upper()} and {found[1].upper()}" if len(found) == 2 else ", ".join(found).upper()
        raise DataError(f"{path}: holds {what} annotations; pass {' or '.join(f'--format {name}' for name in found)}")
    if not found:
        raise DataError(f"{path}: no data set found: looked for {_LOOKED_FOR}, found {_contents(path)}")
    return found[0]


def formats_in(path: Path) -> list[Format]:
    """The formats of which a folder shows a sign."""
    found: list[Format] = []
    if any(looks_like_voc(file) for file in files_under(path, {".xml"})):
        found.append("voc")
    if any(looks_like_coco(file) for file in files_under(path, {".json"})):
        found.append("coco")
    if looks_like_yolo(path):
        found.append("yolo")
    if any(looks_like_csv(file) for file in files_under(path, SUFFIXES)):
        found.append("csv")
    return found


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _contents(path: Path) -> str:
    """What lies in a folder, in a few words."""
    entries = sorted(path.iterdir())
    folders = [f"folder {entry.name}" for entry in entries if entry.is_dir()]
    suffixes = Counter(entry.suffix.lower() or "nameless" for entry in entries if entry.is_file())
    words = folders[:5] + [f"{count} {suffix} files" for suffix, count in suffixes.most_common(5)]
    more = len(folders) + len(suffixes) - len(words)
    return ", ".join(words) + (f" and {more} more kinds" if more > 0 else "")
