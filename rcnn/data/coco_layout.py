"""Which JSON files make up a COCO data set, which splits they are, and where their pictures lie."""

import difflib
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rcnn.data.files import SPLIT_NAMES, files_under
from rcnn.errors import DataError

_KEYS = re.compile(rb'"(images|annotations|categories|licenses|info|file_name|category_id|bbox)"\s*:')
MOST_COMPARED = 2000
"""Names among which a misspelt one is looked for: of many more that would take longer than reading them all."""
_HEAD = 1 << 16
"""Bytes in which a COCO file shows two of its keys: the files themselves reach half a gigabyte."""


def coco_files(path: Path) -> tuple[Path, list[Path]]:
    """The folder that file names may start from, and the JSON files; raises DataError if there are none."""
    if path.is_file():
        folder = path.parent
        return (folder.parent if folder.name.lower() == "annotations" else folder), [path]
    every = files_under(path, {".json"})
    files = [file for file in every if looks_like_coco(file)]
    if not files:
        raise DataError(f"{path}: no COCO file (JSON with images, annotations and categories) in it; give one")
    files = [file for file in files if file.name.startswith("instances_")] or files
    return path, sorted({*files, *(file for file in every if _told(_core(file)) and _is_broken(file))})


def _is_broken(file: Path) -> bool:
    """Whether a file that is called JSON is none: one named like a split belongs to the data, and is missed."""
    try:
        json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return True
    return False


def looks_like_coco(file: Path) -> bool:
    """Whether the beginning of a JSON file has two of COCO's keys; a list is none, but results that lie beside."""
    try:
        with file.open("rb") as stream:
            head = stream.read(_HEAD)
        return len(set(_KEYS.findall(head))) > 1 and not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    except OSError:  # a link that leads nowhere, say
        return False


def split_names(files: Sequence[Path], root: Path) -> dict[Path, str | None]:
    """The split of each file, all different; None for a single file that does not tell."""
    if len(files) == 1:
        return {files[0]: _told(_core(files[0]))}
    names = {file: _told(_core(file)) or _told(file.parent.relative_to(root).name) for file in files}
    for spell in (_core, lambda file: file.relative_to(root).with_suffix("").as_posix()):
        count = Counter(names.values())
        names = {file: name if name and count[name] == 1 else spell(file) for file, name in names.items()}
    return names


def _core(file: Path) -> str:
    return file.stem.removeprefix("instances_")


def _told(text: str) -> str | None:
    """The one name of a split among the words of `text`; digits and signs part words."""
    words = {SPLIT_NAMES[word] for word in re.split(r"[^a-z]+", text.lower()) if word in SPLIT_NAMES}
    return words.pop() if len(words) == 1 else None


class Pictures:
    """The folders in which the pictures of one JSON file are looked for, nearest first."""

    def __init__(self, file: Path, root: Path, split: str | None) -> None:
        self.root, self._inside = root, os.path.join(os.path.abspath(root), "")
        spellings = [_core(file), *(spelling for spelling, name in SPLIT_NAMES.items() if name == split)]
        parents = [root, root / "images", file.parent]
        own = [parent / spelling for parent in parents for spelling in spellings]
        general = [file.parent, file.parent / "images", root / "images", root / "JPEGImages", root]
        self._folders = [folder for folder in dict.fromkeys(own + general) if folder.is_dir()]
        self._listed: dict[str, dict[str, str]] = {}

    def find(self, file_name: str) -> Path | None:
        """The picture of this name, else of its last part alone, whatever the case of its letters.

        Nothing outside the data's folder is ever looked at.
        """
        return self._find(file_name) or self._find(os.path.basename(file_name))

    def missing(self, name: str) -> str:
        """What to say of a picture that `find` does not find, with the name that comes nearest."""
        last = os.path.basename(name)
        known = {entry for listed in self._listed.values() for entry in listed.values()}
        few = known if len(known) <= MOST_COMPARED else ()
        close = difflib.get_close_matches(last, few, n=1, cutoff=0.8)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"no picture called {name} beside it or in folders named as it is{hint}"

    def _find(self, name: str) -> Path | None:
        for folder in self._folders:
            place, last = os.path.split(os.path.normpath(os.path.join(folder, name)))
            if not os.path.join(os.path.abspath(place), "").startswith(self._inside):
                continue
            listed = self._listing(place)
            found = listed.get(last) or listed.get(last.casefold())
            if found:
                return Path(place, found)
        return None

    def _listing(self, place: str) -> dict[str, str]:
        """The files of a folder by their names, as they are and in small letters: quicker than asking for each."""
        if place not in self._listed:
            with suppress(OSError, ValueError), os.scandir(place) as entries:
                names = sorted(entry.name for entry in entries if entry.is_file())
                self._listed[place] = {name.casefold(): name for name in names} | {name: name for name in names}
        return self._listed.setdefault(place, {})
