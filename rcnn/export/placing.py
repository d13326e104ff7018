"""Files that were made in another folder, put where they belong."""

import os
from pathlib import Path


def put(made: Path, path: Path) -> None:
    """Give a file from another folder of the same disk the name `path`, and a .bin beside it likewise.

    What stands under `path` is whole, and of one making with its .bin, or it is missing: never one file of an old pair
    beside one of the new, whenever this ends.
    """
    part = made.with_suffix(".bin")
    files = [part, made] if part.is_file() else [made]
    for file in files:
        with file.open("rb+") as content:
            os.fsync(content.fileno())
    if part in files:
        path.unlink(missing_ok=True)
    for file in files:
        file.replace(path.with_suffix(file.suffix))
