"""What is to be written: every picture once, under a name that no other has, and the splits that it is in."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from rcnn.data.defects import Size, picture_name
from rcnn.data.files import ARRAY_SUFFIXES, PICTURE_SUFFIXES, SPLIT_ORDER
from rcnn.data.picture import MAX_PIXELS, picture_size, resolve
from rcnn.data.splits import every_sample
from rcnn.errors import DataError
from rcnn.sample import DataSet, Sample

SUFFIXES = PICTURE_SUFFIXES | ARRAY_SUFFIXES
"""By which readers of most formats know a picture."""

_UNSAFE = re.compile(r'[\\/:*?"<>|\x00-\x1f]')
"""What some system does not allow in the name of a file."""


@dataclass(frozen=True)
class Item:
    """A picture with its truth, and how it is called in what is written."""

    sample: Sample
    name: str
    """Of its files, without suffix: different from that of any other, even in small letters."""
    suffix: str
    size: Size
    """Height and width as shown."""
    split: str
    """The first of its splits."""

    @property
    def file(self) -> str:
        """The name of the picture's file."""
        return self.name + self.suffix


@dataclass(frozen=True)
class Plan:
    """A data set, ready to be written in any format."""

    splits: dict[str, list[Item]]
    """Those that are not empty."""
    class_names: tuple[str, ...]
    category_ids: dict[str, int]
    """Class name to its number in a COCO file."""

    @property
    def items(self) -> list[Item]:
        """Each picture once."""
        return list({item.name: item for part in self.splits.values() for item in part}.values())


def make_plan(dataset: DataSet, max_pixels: int = MAX_PIXELS, suffixes: Collection[str] = SUFFIXES) -> Plan:
    """The plan for a data set.

    Files are called as the samples' ids, or, where two ids differ in their folder or suffix alone, as the whole ids
    with `_` for `/`. Raises DataError for a class that is not among the data set's, and for a picture that cannot be
    read or whose file would have none of the `suffixes` by which readers know one.
    """
    parts = sorted(dataset.splits.items(), key=lambda item: SPLIT_ORDER.get(item[0], 9))
    first: dict[str, str] = {}
    for split, samples in parts:
        first |= {sample.id: split for sample in samples if sample.id not in first}
    known = set(dataset.class_names)
    items: dict[str, Item] = {}
    for sample, name in _names(every_sample(dataset)):
        if not known.issuperset(sample.names):
            strange = next(name for name in sample.names if name not in known)
            raise DataError(f"sample {sample.id}: class {strange} is not among the data set's classes; add it to them")
        size = picture_size(sample.picture, max_pixels)
        items[sample.id] = Item(sample, name, _suffix(sample, suffixes), size, safe_name(first[sample.id]))
    splits = {safe_name(split): [items[s.id] for s in samples] for split, samples in parts if samples}
    return Plan(splits, dataset.class_names, _numbers(dataset))


def _numbers(dataset: DataSet) -> dict[str, int]:
    """Those of the COCO file that the data comes from, if every class has one, else 1, 2 ..."""
    if dataset.category_ids.keys() >= set(dataset.class_names):
        return dataset.category_ids
    return {name: number for number, name in enumerate(dataset.class_names, 1)}


def safe_name(text: str) -> str:
    """A name that any system takes for a file or folder."""
    return _UNSAFE.sub("_", text).strip(" .") or "unnamed"


def objects_of(items: Sequence[Item]) -> int:
    """How many objects are in these pictures."""
    return sum(len(item.sample.names) for item in items)


def renamed(items: Sequence[Item]) -> Mapping[str, str]:
    """Sample id to the name it is written under, where that is another than its own last part."""
    return {item.sample.id: item.name for item in items if item.name != _short(item.sample)}


def _names(samples: Sequence[Sample]) -> list[tuple[Sample, str]]:
    """Each sample with a name of its own."""
    short = {sample.id: safe_name(_short(sample)) for sample in samples}
    count = Counter(name.casefold() for name in short.values())
    taken: set[str] = set()
    named = []
    for sample in samples:
        wanted = short[sample.id] if count[short[sample.id].casefold()] == 1 else safe_name(_long(sample))
        name, number = wanted, 1
        while name.casefold() in taken or (name != short[sample.id] and count[name.casefold()]):
            number += 1
            name = f"{wanted}-{number}"
        taken.add(name.casefold())
        named.append((sample, name))
    return named


def _short(sample: Sample) -> str:
    """The last part of a sample's id; without the suffix where it is the name of its picture."""
    return PurePosixPath(_long(sample)).name


def _long(sample: Sample) -> str:
    path = PurePosixPath(sample.id)
    own = isinstance(sample.picture, Path) and path.name.casefold() == sample.picture.name.casefold()
    return path.with_suffix("").as_posix() if own and path.suffix.lower() in SUFFIXES else sample.id


def _suffix(sample: Sample, suffixes: Collection[str]) -> str:
    """Of the picture's file; pictures that are none become PNG files, or NumPy's where PNG would lose something."""
    own = sample.picture.suffix if isinstance(sample.picture, Path) else _suffix_of_array(sample)
    if own.lower() in suffixes:
        return own
    known = ", ".join(sorted(suffixes))
    advice = "choose another format" if own.lower() in SUFFIXES else "rename it"
    raise DataError(
        f"{picture_name(sample)}: {own or 'nothing'} is no suffix by which readers know a picture ({known}); {advice}"
    )


def _suffix_of_array(sample: Sample) -> str:
    picture = resolve(sample.picture, channels=None)
    return ".png" if picture.dtype == np.uint8 and picture.shape[2] == 3 else ".npy"
