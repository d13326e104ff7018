"""COCO's results: a list of {image_id, category_id, bbox as x, y, width, height, score}, which most programs write."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rcnn.data.objects import Box
from rcnn.errors import DataError
from rcnn.paths import refuse_missing_results
from rcnn.sample import DataSet

_MOST = float(np.finfo(np.float32).max)
"""Boxes and scores become 32-bit floats."""


class Result(NamedTuple):
    """One entry of a file."""

    where: str
    """The file and the entry, for messages."""
    picture: str | int
    """Its `file_name` where the entry has one, else its `image_id`."""
    class_name: str
    """Empty where the entry has none."""
    class_number: int | None
    """The category's number in the file."""
    box: Box
    """x1, y1, x2, y2 in pixels, as they are written: no side is below 0, and any may be 0."""
    score: float


def read_results(path: Path) -> Iterator[Result]:
    """The entries of a file, in its order; raises DataError for a file that is no such list, or has another entry."""
    refuse_missing_results(path)
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); export it anew") from None
    if not isinstance(content, list):
        raise DataError(
            f"{path}: not COCO's results, a list of entries with bbox and score; give such a file, not the data's truth"
        )
    for number, entry in enumerate(content, 1):
        yield _result(entry, f"{path}: entry {number}")


def named(result: Result, dataset: DataSet) -> Result:
    """An entry with the name of its class: the one that it gives, else that of its number in the data's COCO file.

    Raises DataError for a number that the data does not have: names are the only identity of a class.
    """
    if result.class_name:
        return result
    numbers = dataset.category_ids
    for name, number in numbers.items():
        if number == result.class_number:
            return result._replace(class_name=name)
    told = f"{result.where}: category_id {result.class_number}"
    if not numbers:
        raise DataError(f"{told}, but the data does not number classes; give category_name")
    known = ", ".join(map(str, sorted(numbers.values())))
    raise DataError(f"{told} is not in the data, which has {known}; give category_name")


def _result(entry: Any, where: str) -> Result:
    if not isinstance(entry, dict):
        raise DataError(f"{where}: is no object with bbox, score, file_name and category_name; export it anew")
    picture = entry.get("file_name") or entry.get("image_id")
    if not isinstance(picture, str | int):
        raise DataError(f"{where}: lacks image_id or file_name; export it anew")
    box, score = entry.get("bbox"), entry.get("score")
    values = [*box, score] if isinstance(box, list) and len(box) == 4 else []
    if not values or not all(isinstance(value, int | float) and abs(value) <= _MOST for value in values):
        raise DataError(f"{where}: lacks a bbox of x, y, width, height, or a score; export it anew")
    if min(values[2:4]) < 0:
        raise DataError(f"{where}: bbox {box} has a side below 0; give x, y, width and height in pixels")
    x, y, width, height, certain = map(float, values)
    name, number = entry.get("category_name"), entry.get("category_id")
    return Result(
        where,
        picture,
        name if isinstance(name, str) else "",
        number if isinstance(number, int) else None,
        (x, y, x + width, y + height),
        certain,
    )
