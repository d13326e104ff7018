"""Writing VOC: an XML file per picture, lists of splits, and a list of classes."""

from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np

from rcnn.data.files import CLASSES
from rcnn.data.splits import every_sample
from rcnn.data.writing.numbers import Corners, corners, plain
from rcnn.data.writing.plan import Item, Plan
from rcnn.sample import DataSet, Sample


def place(item: Item) -> str:
    """Where a picture lies."""
    return f"JPEGImages/{item.file}"


def write(plan: Plan, folder: Path) -> None:
    """Write Annotations and ImageSets; VOC has no list of classes, so that in ImageSets/classes.txt is ours."""
    annotations, lists = folder / "Annotations", folder / "ImageSets" / "Main"
    annotations.mkdir(parents=True)
    lists.mkdir(parents=True)
    for item in plan.items:
        tree = ElementTree(_annotation(item))
        indent(tree)
        tree.write(annotations / f"{item.name}.xml", encoding="utf-8")
    for split, items in plan.splits.items():
        (lists / f"{split}.txt").write_text("".join(f"{item.name}\n" for item in items), "utf-8")
    (lists.parent / CLASSES).write_text("".join(f"{name}\n" for name in plan.class_names), "utf-8")


def without_thin(dataset: DataSet) -> tuple[DataSet, int]:
    """The data set without objects of at most a pixel's width or height, and their number.

    VOC counts the last pixel as inside: their corners would be the same, or in the wrong order.
    """
    splits = {split: [_without_thin(sample) for sample in samples] for split, samples in dataset.splits.items()}
    kept = replace(dataset, splits=splits)
    before, after = (sum(len(s.names) for s in every_sample(data)) for data in (dataset, kept))
    return kept, before - after


def _without_thin(sample: Sample) -> Sample:
    keep = np.array([x2 - x1 > 1 and y2 - y1 > 1 for x1, y1, x2, y2 in corners(sample)], bool)
    return sample if keep.all() else sample.keep(keep)


def _annotation(item: Item) -> Element:
    root = Element("annotation")
    _add(root, "folder", "JPEGImages")
    _add(root, "filename", item.file)
    size = SubElement(root, "size")
    for side, value in zip(("width", "height", "depth"), (*item.size[::-1], 3), strict=True):
        _add(size, side, str(value))
    flags = item.sample.difficult.tolist()  # type: ignore[union-attr]
    for name, difficult, box in zip(item.sample.names, flags, corners(item.sample), strict=True):
        thing = SubElement(root, "object")
        _add(thing, "name", name)
        _add(thing, "difficult", str(int(difficult)))
        frame = SubElement(thing, "bndbox")
        for side, number in zip(("xmin", "ymin", "xmax", "ymax"), _to_voc(box), strict=True):
            _add(frame, side, plain(number))
    return root


def _to_voc(box: Corners) -> Corners:
    """`rcnn.data.voc.to_voc` in decimal numbers: the first pixel is 1, the last is inside."""
    return box[0] + 1, box[1] + 1, box[2], box[3]


def _add(parent: Element, tag: str, text: str) -> None:
    SubElement(parent, tag).text = text
