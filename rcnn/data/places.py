"""Where the files of a data set lie: inside its folder, whatever is written in one of them."""

import os
import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from rcnn.data.files import SPLIT_NAMES

_ABSOLUTE = re.compile(r"/|[A-Za-z]:/")


def slashed(written: str) -> str:
    """A path as written on any system, with this library's slashes."""
    return written.strip().replace("\\", "/")


def is_absolute(written: str) -> bool:
    """Whether a path begins at the root of this machine, or of one with drives."""
    return _ABSOLUTE.match(written) is not None


def inside(folder: Path, path: Path) -> bool:
    """Whether a path stays in the folder once every `..` is worked out; links are not followed, as nowhere else."""
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))


def leads_out(folder: Path, written: str, near: Path) -> bool:
    """Whether a path, written in a file of the folder `near`, leaves the data's folder wherever one begins to walk."""
    path = slashed(written)
    if is_absolute(path):
        return not inside(folder, Path(path))
    return not any(inside(folder, start / path) for start in (folder, near))


def tail_in(folder: Path, written: str) -> Path | None:
    """The longest end of a path that exists in the folder: data that was moved as a whole is found so.

    A folder's last name alone tells too little (`valid/images`), unless it is that of a split.
    """
    parts = [part for part in PurePosixPath(slashed(written)).parts if part not in ("/", "..")]
    for start in range(len(parts)):
        place = folder.joinpath(*parts[start:])
        enough = start == 0 or start < len(parts) - 1 or parts[-1].lower() in SPLIT_NAMES
        if place.is_file() or (enough and place.is_dir()):
            return place
    return None


def picture_ids(pictures: Collection[Path], root: Path) -> dict[Path, str]:
    """Ids of different pictures: names without suffix; where several share one, paths in the folder."""
    ids = {picture: picture.stem for picture in pictures}
    for has_suffix in (False, True):
        count = Counter(ids.values())
        for picture, name in ids.items():
            if count[name] > 1:
                path = Path(os.path.relpath(picture, root))
                ids[picture] = (path if has_suffix else path.with_suffix("")).as_posix()
    return ids


class Listing:
    """The files of folders by their names, as they are and in small letters: quicker than asking for each."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, Path]] = {}

    def of(self, folder: Path) -> dict[str, Path]:
        """The files of a folder; none where there is no such folder."""
        if folder not in self._folders:
            found = sorted(entry for entry in folder.iterdir() if entry.is_file()) if folder.is_dir() else []
            small = {file.name.casefold(): file for file in found}
            self._folders[folder] = small | {file.name: file for file in found}
        return self._folders[folder]

    def find(self, folder: Path, name: str) -> Path | None:
        """The file of this name, else of the same letters in another case."""
        files = self.of(folder)
        return files.get(name) or files.get(name.casefold())
