"""Pictures of one thing each, in a folder for each class: what a classifier learns from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rcnn.data.files import PICTURE_SUFFIXES, SPLIT_NAMES, files_under
from rcnn.errors import DataError
from rcnn.paths import refuse_missing_classes
from rcnn.sample import Picture

VAL_SHARE = 0.15
"""What part of each class is held back where the data has no split of its own."""


@dataclass(frozen=True)
class LabelledPicture:
    """A picture and the number of its class, from 0. `id` keys its randomness."""

    id: str
    picture: Picture
    label: int


@dataclass(frozen=True)
class ClassData:
    """Pictures to learn from, those to measure by, and the classes in the order of their labels."""

    train: list[LabelledPicture]
    val: list[LabelledPicture]
    class_names: tuple[str, ...]


def read_class_folders(root: Path) -> ClassData:
    """The pictures below `root`: `CLASS/*.jpg`, or `train/CLASS/*.jpg` and perhaps `val/CLASS/*.jpg` (else `test`).

    Where there is no val or test, 15 % of each class are drawn, always the same. Raises DataError where there are
    fewer than two classes, a class has no picture, or val has a class that train has not.
    """
    refuse_missing_classes(root)
    splits = _split_folders(root)
    train = splits.get("train", root)
    held = splits.get("val", splits.get("test"))
    names = tuple(folder.name for folder in _folders(train))
    if len(names) < 2:
        raise DataError(f"{train}: {len(names)} folders in it; give one that holds a folder of pictures for each class")
    pictures = _pictures(train, names)
    if held is not None:
        return ClassData(pictures, _pictures(held, names), names)
    return ClassData(*draw_val(pictures, len(names), str(root)), names)


def draw_val(
    pictures: Sequence[LabelledPicture], classes: int, where: str
) -> tuple[list[LabelledPicture], list[LabelledPicture]]:
    """Train and val: of each class the 15 % whose hashed ids come first, and at least one, unless it is the only one.

    Raises DataError, naming `where` they are from, if that leaves val empty.
    """
    val: set[str] = set()
    for label in range(classes):
        own = [picture.id for picture in pictures if picture.label == label]
        ranked = sorted(own, key=lambda name: hashlib.sha256(name.encode()).digest())
        val |= set(ranked[: max(round(VAL_SHARE * len(own)), 1)] if len(own) > 1 else ())
    if not val:
        raise DataError(f"{where}: no class has two pictures, so none can be held back; add pictures")
    return [p for p in pictures if p.id not in val], [p for p in pictures if p.id in val]


def _split_folders(root: Path) -> dict[str, Path]:
    """The folders train, val, test of `root`, if it holds nothing else: `train` may be a class beside others."""
    folders = _folders(root)
    if not all(folder.name.casefold() in SPLIT_NAMES for folder in folders):
        return {}
    splits = {SPLIT_NAMES[folder.name.casefold()]: folder for folder in folders}
    return splits if "train" in splits else {}


def _folders(root: Path) -> list[Path]:
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__MACOSX")))


def _pictures(folder: Path, names: Sequence[str]) -> list[LabelledPicture]:
    labels = {name: label for label, name in enumerate(names)}
    found = []
    for place in _folders(folder):
        if place.name not in labels:
            raise DataError(f"{place}: a class that is not in train; remove it, or add pictures of it there")
        files = files_under(place, PICTURE_SUFFIXES)
        if not files:
            raise DataError(f"{place}: no pictures in it; remove the folder, or add some")
        found += [LabelledPicture(path.relative_to(folder).as_posix(), path, labels[place.name]) for path in files]
    if not found:
        raise DataError(f"{folder}: holds no class; add a folder of pictures for each")
    return found
