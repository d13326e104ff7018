"""Detections as a file: COCO's results, by picture and class names where the file has them, else by COCO's numbers."""

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rcnn.api.measuring import Predicted
from rcnn.data import every_sample, samples_of
from rcnn.data.known import KnownPictures
from rcnn.errors import DataError
from rcnn.runs import write_text
from rcnn.sample import DataSet, Sample
from rcnn.structures import Detections

LARGEST = 1e9
"""Of a number in a file: beyond are no pixels, and infinity."""
Row = tuple[str, int, float, float, float, float, float]
"""Sample id, label, x1, y1, x2, y2, score."""


def write_predictions(path: Path, predicted: Predicted, dataset: DataSet) -> None:
    """Write every detection, whatever its score, so exactly that it is read as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = file_names(every_sample(dataset))
    rows = [
        row
        for number, (sample, found) in enumerate(zip(predicted.samples, predicted.detections, strict=True), 1)
        for row in _entries_of(sample, found, names[sample.id], number, dataset)
    ]
    write_text(path, "[" + ",\n".join(map(json.dumps, rows)) + "]\n")


def file_names(samples: Sequence[Sample]) -> dict[str, str]:
    """What each sample's picture is called in a file: its file's name, or the sample's id where two share one."""
    names = {s.id: s.picture.name if isinstance(s.picture, Path) else s.id for s in samples}
    count = Counter(names.values())
    return {key: name if count[name] == 1 else key for key, name in names.items()}


def _entries_of(
    sample: Sample, found: Detections, name: str, number: int, dataset: DataSet
) -> Iterator[dict[str, Any]]:
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), found.names, strict=True)
    for (x1, y1, x2, y2), score, label, class_name in rows:
        yield {
            "image_id": number if sample.coco_id is None else sample.coco_id,
            "file_name": name,
            "category_id": dataset.category_ids.get(class_name, label),
            "category_name": class_name,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }


def read_predictions(path: Path, dataset: DataSet, split: str, samples: Sequence[Sample] | None = None) -> Predicted:
    """The detections of a split's pictures, or of `samples`, as a file has them; those of others are left out.

    A picture is known by `file_name`, else by `image_id`: the number in the data's COCO file, or the sample's id. A
    class is known by `category_name`, else by `category_id`. Raises DataError for a file that is no such list, or that
    names a picture or a class that the data does not have.
    """
    samples = samples_of(dataset, split) if samples is None else samples
    by_picture: dict[str, list[Row]] = {sample.id: [] for sample in samples}
    others: set[str] = set()
    for row in _rows(path, dataset):
        if row[0] in by_picture:
            by_picture[row[0]].append(row)
        else:
            others.add(row[0])
    notes = (f"{path}: has {len(others)} pictures of other splits too; they are left out",) if others else ()
    found = [_detections(rows, dataset.class_names) for rows in by_picture.values()]
    return Predicted(samples, found, dataset.class_names, None, notes)


def _detections(rows: Sequence[Row], class_names: tuple[str, ...]) -> Detections:
    """The rows of a picture, best first; equal scores in the order of the file."""
    table = np.array([row[1:] for row in rows], np.float64).reshape(-1, 6)
    table = table[np.argsort(-table[:, 5], kind="stable")]
    boxes, scores = (torch.from_numpy(part.astype(np.float32)) for part in (table[:, 1:5], table[:, 5]))
    return Detections(boxes, scores, torch.from_numpy(table[:, 0].astype(np.int64)), class_names)


def _rows(path: Path, dataset: DataSet) -> Iterator[Row]:
    samples = every_sample(dataset)
    known, class_of = KnownPictures(samples), _Classes(dataset)
    for number, entry in enumerate(_list_in(path), 1):
        where = f"{path}: entry {number}"
        if not isinstance(entry, dict):
            raise DataError(f"{where}: is no object with bbox, score, file_name and category_name; export it anew")
        x, y, width, height, score = _numbers(entry, where)
        yield _picture(entry, known, samples, where), class_of(entry, where), x, y, x + width, y + height, score


def _list_in(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); export it anew") from None
    if not isinstance(content, list):
        raise DataError(f"{path}: not COCO's results, a list of entries with bbox and score; export it anew")
    return content


def _numbers(entry: dict[str, Any], where: str) -> tuple[float, ...]:
    box, score = entry.get("bbox"), entry.get("score")
    values = [*box, score] if isinstance(box, list) and len(box) == 4 else []
    if len(values) != 5 or not all(isinstance(v, int | float) and abs(v) <= LARGEST for v in values):
        raise DataError(f"{where}: lacks a bbox of x, y, width, height, or a score; export it anew")
    if min(values[2:4]) < 0:
        raise DataError(f"{where}: bbox {box} has a side below 0; give x, y, width and height in pixels")
    return tuple(map(float, values))


def _picture(entry: dict[str, Any], known: KnownPictures, samples: Sequence[Sample], where: str) -> str:
    named = entry.get("file_name") or entry.get("image_id")
    key = known.find(named) if isinstance(named, str | int) else None
    if key is not None:
        return key
    if isinstance(named, int) and all(sample.coco_id is None for sample in samples):
        raise DataError(f"{where}: image_id {named}, but the data does not number its pictures; give file_name")
    raise DataError(
        f"{where}: picture {named!r} is none of the data, or may be several{_meant(named, (s.id for s in samples))}"
    )


class _Classes:
    """From an entry to the label of its class."""

    def __init__(self, dataset: DataSet) -> None:
        self.labels = {name: label for label, name in enumerate(dataset.class_names, 1)}
        self.by_number = {number: self.labels[name] for name, number in dataset.category_ids.items()}

    def __call__(self, entry: dict[str, Any], where: str) -> int:
        """Raises DataError for a class that the data does not have."""
        name, number = entry.get("category_name"), entry.get("category_id")
        if isinstance(name, str):
            if name in self.labels:
                return self.labels[name]
            known = ", ".join(self.labels)
            raise DataError(f"{where}: class {name!r} is not in the data ({known}){_meant(name, self.labels)}")
        if not self.by_number:
            raise DataError(f"{where}: category_id {number}, but the data does not number classes; give category_name")
        if isinstance(number, int) and number in self.by_number:
            return self.by_number[number]
        numbers = ", ".join(map(str, sorted(self.by_number)))
        raise DataError(f"{where}: category_id {number} is not in the data, which has {numbers}")


def _meant(named: object, known: Iterable[str]) -> str:
    """The known name most like a given one."""
    close = difflib.get_close_matches(str(named), list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else "; give the data that it was made for"
