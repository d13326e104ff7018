"""From a path to a data set: its format is told by looking."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from rcnn.data.coco import read_coco
from rcnn.data.coco_layout import looks_like_coco
from rcnn.data.defects import OpenedData
from rcnn.data.files import files_under
from rcnn.data.voc import looks_like_voc, read_voc
from rcnn.errors import DataError

Format = Literal["voc", "coco"]

READERS: dict[str, Callable[[Path, int], OpenedData]] = {"voc": read_voc, "coco": read_coco}

_LOOKED_FOR = "VOC (XML files that begin with <annotation>) or COCO (JSON with images, annotations and categories)"


def open_data(path: Path, format: str | None = None, seed: int = 0) -> OpenedData:
    """The data set at `path`, a folder or a COCO file, with findings on what is wrong in it.

    Defective objects and pictures are left out and reported; `enforce` decides what follows. `seed` draws the splits
    of a data set that has none. Raises DataError if nothing is there, or in none of the known forms.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; give the folder of a data set")
    if format is not None and format not in READERS:
        raise DataError(f"format '{format}': not known; give {' or '.join(READERS)}")
    if format == "voc" and path.is_file():
        raise DataError(f"{path}: a file; VOC data is a folder: give that")
    return READERS[format or recognise(path)](path, seed)


def recognise(path: Path) -> Format:
    """The format of the data set at `path`; raises DataError saying what was looked for and what was found."""
    if path.is_file():
        if path.suffix.lower() == ".json":
            return "coco"
        raise DataError(f"{path}: a {path.suffix or 'nameless'} file; give a folder, or the JSON file of COCO data")
    if not any(path.iterdir()):
        raise DataError(f"{path}: an empty folder; give one with {_LOOKED_FOR}")
    found: list[Format] = []
    if any(looks_like_voc(file) for file in files_under(path, {".xml"})):
        found.append("voc")
    if any(looks_like_coco(file) for file in files_under(path, {".json"})):
        found.append("coco")
    if len(found) > 1:
        raise DataError(f"{path}: holds both VOC and COCO annotations; pass --format voc or --format coco")
    if not found:
        raise DataError(f"{path}: no data set found: looked for {_LOOKED_FOR}, found {_contents(path)}")
    return found[0]


def _contents(path: Path) -> str:
    """What lies in a folder, in a few words."""
    entries = sorted(path.iterdir())
    folders = [f"folder {entry.name}" for entry in entries if entry.is_dir()]
    suffixes = Counter(entry.suffix.lower() or "nameless" for entry in entries if entry.is_file())
    words = folders[:5] + [f"{count} {suffix} files" for suffix, count in suffixes.most_common(5)]
    more = len(folders) + len(suffixes) - len(words)
    return ", ".join(words) + (f" and {more} more kinds" if more > 0 else "")
