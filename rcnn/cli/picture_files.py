"""The pictures that a command is given, and what their drawings are called."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from rcnn.errors import ConfigError, RcnnError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm"}


def make_folder(out: Path, drawn: Sequence[Path], pictures: Sequence[Path]) -> None:
    """The folder for drawn pictures; raises ConfigError where it is a file, or where they would replace pictures."""
    if any(place.exists() and not place.is_dir() for place in (out, *out.parents)):
        raise ConfigError(f"{out}: a file, or inside of one; give --out the name of a folder")
    originals = {picture.resolve() for picture in pictures}
    if lost := next((file for file in drawn if file.resolve() in originals), None):
        raise ConfigError(f"{lost}: one of the pictures, which would be replaced; give --out another folder")
    out.mkdir(parents=True, exist_ok=True)


def find_pictures(patterns: Sequence[str]) -> list[Path]:
    """The files that arguments name, each once; raises RcnnError for an argument that names none."""
    files: dict[Path, None] = {}
    for pattern in patterns:
        found = list(_matching(pattern))
        if not found:
            raise RcnnError(f"{pattern}: no picture there; give files, folders, or patterns such as 'photos/*.jpg'")
        files |= dict.fromkeys(found)
    return list(files)


def _matching(pattern: str) -> Iterator[Path]:
    path = Path(pattern)
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    elif path.exists():
        yield path
    else:
        yield from (Path(name) for name in sorted(glob.glob(pattern, recursive=True)) if Path(name).is_file())


def drawn_names(files: Sequence[Path]) -> dict[Path, str]:
    """A name for each drawn picture: the file's own, with a number behind it where two files share one."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for file in files:
        name, number = f"{file.stem}.jpg", 1
        while name in taken:
            number += 1
            name = f"{file.stem}-{number}.jpg"
        taken.add(name)
        names[file] = name
    return names
