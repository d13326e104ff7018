"""Bringing the pictures along: copied, linked, or left where they are."""

import os
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from rcnn.data.files import ARRAY_SUFFIXES
from rcnn.data.picture import resolve
from rcnn.data.writing.plan import Item
from rcnn.sample import Pixels

Pictures = Literal["copy", "link", "none"]


def bring(item: Item, target: Path, how: Pictures) -> None:
    """Put a picture at `target`: to the byte as it is, or, if it is no file, as the suffix of `target` says.

    A link is a hard one (the same file under two names) where the disk allows that, else a symbolic one.
    """
    if how == "none":
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(item.sample.picture, Path):
        _save(resolve(item.sample.picture, channels=None), target)
    elif how == "copy":
        shutil.copyfile(item.sample.picture, target)
    else:
        _link(item.sample.picture.resolve(), target)


def _save(picture: Pixels, target: Path) -> None:
    if target.suffix in ARRAY_SUFFIXES:
        np.save(target, picture)
    else:
        Image.fromarray(picture).save(target)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without hard links
        target.symlink_to(source)
