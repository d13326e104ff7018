"""COCO's results format: a list of {image_id, bbox as x, y, width, height, score}, as most programs can write it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from rcnn.data.known import KnownPictures
from rcnn.data.splits import every_sample
from rcnn.errors import DataError
from rcnn.sample import DataSet

ByKey = dict[str, Float[np.ndarray, "..."]]


def read_coco_results(path: Path, dataset: DataSet | None) -> tuple[ByKey, ByKey]:
    """Boxes and scores by sample id, best first; pictures that the data set does not have are left out.

    A picture is known by `file_name` where an entry has one, else by `image_id`: the number in the data's COCO file,
    the sample's id, or the name of its file without the suffix. Raises DataError for a file that is no such list, or
    in which none of the pictures is known.
    """
    rows: dict[str, list[list[float]]] = {}
    pictures = None if dataset is None else KnownPictures(every_sample(dataset))
    named: object = None
    for named, row in _entries(path):
        key = str(named) if pictures is None else pictures.find(named)
        if key is not None:
            rows.setdefault(key, []).append(row)
    if named is not None and not rows:
        raise DataError(
            f"{path}: picture {named!r} is not in the data, nor is any other; give the data it was made for"
        )
    boxes, scores = {}, {}
    for key, part in rows.items():
        table = np.array(part)
        table = table[np.argsort(-table[:, 4], kind="stable")]
        corners = np.concatenate((table[:, :2], table[:, :2] + table[:, 2:4]), axis=1)
        boxes[key], scores[key] = corners.astype(np.float32), table[:, 4].astype(np.float32)
    return boxes, scores


def _entries(path: Path) -> Iterator[tuple[str | int, list[float]]]:
    """The name of a picture, and x, y, width, height, score, for each entry."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); export it anew") from None
    if not isinstance(content, list):
        raise DataError(
            f"{path}: not COCO's results, a list of entries; give a file that lists boxes with scores, "
            "not the data's annotations"
        )
    for number, entry in enumerate(content, 1):
        row = _row(entry)
        if row is None:
            raise DataError(
                f"{path}: entry {number} lacks image_id, a bbox with width and height, or a score; export it anew"
            )
        yield entry.get("file_name") or entry["image_id"], row


def _row(entry: Any) -> list[float] | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("file_name") or entry.get("image_id"), str | int):
        return None
    box, score = entry.get("bbox"), entry.get("score")
    if not isinstance(box, list) or len(box) != 4:
        return None
    row = [*box, score]
    if not all(isinstance(value, int | float) and np.isfinite(value) for value in row):
        return None
    return list(map(float, row)) if box[2] > 0 and box[3] > 0 else None
