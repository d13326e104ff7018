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
from rcnn.data.coco_results import Result, named, read_results
from rcnn.data.known import KnownPictures
from rcnn.errors import DataError
from rcnn.runs import write_text
from rcnn.sample import DataSet, Sample
from rcnn.structures import Detections

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
    known, labels = KnownPictures(samples), {name: label for label, name in enumerate(dataset.class_names, 1)}
    for result in read_results(path):
        sample_id, name = _picture(result, known, samples), named(result, dataset).class_name
        if name not in labels:
            meant = _meant(name, labels)
            raise DataError(f"{result.where}: class {name!r} is not in the data ({', '.join(labels)}){meant}")
        yield sample_id, labels[name], *result.box, result.score


def _picture(result: Result, known: KnownPictures, samples: Sequence[Sample]) -> str:
    picture = result.picture
    key = known.find(picture)
    if key is not None:
        return key
    if isinstance(picture, int) and all(sample.coco_id is None for sample in samples):
        raise DataError(
            f"{result.where}: image_id {picture}, but the data does not number its pictures; give file_name"
        )
    meant = _meant(picture, (sample.id for sample in samples))
    raise DataError(f"{result.where}: picture {picture!r} is none of the data, or may be several{meant}")


def _meant(named: object, known: Iterable[str]) -> str:
    """The known name most like a given one."""
    close = difflib.get_close_matches(str(named), list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else "; give the data that it was made for"
