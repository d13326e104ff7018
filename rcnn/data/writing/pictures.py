"""Bringing the pictures along: copied, linked, or left where they are."""

import os
import shutil
from pathlib import Path
from typing import Literal

from PIL import Image

from rcnn.data.picture import resolve
from rcnn.data.writing.plan import Item

Pictures = Literal["copy", "link", "none"]


def bring(item: Item, target: Path, how: Pictures) -> None:
    """Put a picture at `target`: to the byte as it is, or, if it is no file, as PNG.

    A link is a hard one (the same file under two names) where the disk allows that, else a symbolic one.
    """
    if how == "none":
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(item.sample.picture, Path):
        Image.fromarray(resolve(item.sample.picture)).save(target)
    elif how == "copy":
        shutil.copyfile(item.sample.picture, target)
    else:
        _link(item.sample.picture.resolve(), target)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without hard links
        target.symlink_to(source)
