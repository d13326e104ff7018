"""Finding the files of a data set, whatever the case of their names and whichever folders they lie in."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".jp2"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
ARRAY_SUFFIXES = frozenset({".npy"})
"""Pictures too, where annotations name them; a folder of pictures may hold other arrays."""
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "trainval": "trainval",
}
"""Folders and files of these names, in any case, hold the splits they stand for here."""

SPLIT_ORDER = {"train": 0, "val": 1, "trainval": 2, "test": 3}
"""In what order splits are told; others come after these."""

CLASSES = "classes.txt"
"""The file in which VOC (in ImageSets) and CSV data may list its class names, in their order."""


def files_under(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """The files below `folder` with one of `suffixes` (small letters, with the dot), sorted; hidden ones left out.

    Symbolic links are followed, each folder once.
    """
    wanted, seen, found = frozenset(suffixes), set(), []
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        found += [Path(place, name) for name in names if os.path.splitext(name)[1].lower() in wanted and name[0] != "."]
    return sorted(found)


def listed_names(file: Path) -> tuple[str, ...]:
    """The class names of a file that lists them, one a line, each once."""
    lines = file.read_text("utf-8-sig", errors="replace").splitlines()
    return tuple(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))


def child(folder: Path, name: str) -> Path | None:
    """The entry of `folder` called `name` in any case, if there is one."""
    if (folder / name).exists():
        return folder / name
    entries = folder.iterdir() if folder.is_dir() else ()
    return min((entry for entry in entries if entry.name.casefold() == name.casefold()), default=None)


def plain_name(name: str) -> str:
    """The last part of a path written on any system, without the suffix of a picture."""
    last = PurePosixPath(name.strip().replace("\\", "/")).name
    stem, suffix = os.path.splitext(last)
    return stem if suffix.lower() in PICTURE_SUFFIXES | ARRAY_SUFFIXES else last


def told_otherwise(written: str, picture: Path) -> str | None:
    """What to say where an annotation writes a picture's name in other letters, or with another suffix."""
    last = PurePosixPath(written.strip().replace("\\", "/")).name
    if last in ("", picture.name, picture.stem) or plain_name(last).casefold() != picture.stem.casefold():
        return None
    why = "; some systems tell the case of letters apart" if last.casefold() == picture.name.casefold() else ""
    return f"says {last}, but the file is called {picture.name}{why}"


class PictureIndex:
    """Pictures by name, for annotations that lie in other folders than what they describe."""

    def __init__(self, pictures: Iterable[Path]) -> None:
        self._pictures: dict[str, list[Path]] = {}
        for path in pictures:
            for key in (path.stem.casefold(), path.name.casefold()):
                self._pictures.setdefault(key, []).append(path)

    def find(self, names: Sequence[str], near: Path) -> Path | None:
        """The picture that the first known of `names` means: its suffix and the case of its letters may differ.

        Of several, the one that most names fit to the letter, then the one in the folder most like that of `near`.
        """
        lasts = [PurePosixPath(name.strip().replace("\\", "/")).name for name in names]
        keys = (key.casefold() for last in lasts for key in (last, plain_name(last)))
        found = next((self._pictures[key] for key in keys if key in self._pictures), [])
        folders = set(near.parent.parts)

        def fitness(path: Path) -> tuple[int, int]:
            return sum(last in (path.name, path.stem) for last in lasts), len(folders & set(path.parent.parts))

        return max(found, key=fitness, default=None)
