"""Predictions in the place of truth: what a detector found, to be looked through and mended by people."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rcnn.data.known import KnownPictures
from rcnn.data.objects import LEAST_SIDE, Box
from rcnn.data.picture import picture_size, resolve
from rcnn.data.splits import every_sample
from rcnn.errors import DataError
from rcnn.sample import DataSet, Sample


@dataclass(frozen=True)
class Prediction:
    """One detection of a file of COCO results."""

    picture: str | int
    name: str
    number: int | None
    """Of its category in the file."""
    box: Box
    """x1, y1, x2, y2 in pixels."""
    score: float


def with_predictions(dataset: DataSet, file: Path, score: float = 0.5) -> tuple[DataSet, list[str]]:
    """The data set with the predictions of at least `score` for truth, and a line on each thing that was left out.

    `file` is a list of COCO results, as `rcnn predict --json` writes it. Boxes are cut at the picture's edge. Classes
    are the data set's, and behind them those that the predictions alone have, by number. Raises DataError for a file
    of another kind, a class that neither names, and where no picture is the data set's.
    """
    every = list(read_predictions(file, dataset))
    known = KnownPictures(every_sample(dataset))
    chosen = [found for found in every if found.score >= score]
    by_sample: dict[str, list[Prediction]] = {}
    for found in chosen:
        sample_id = known.find(found.picture)
        if sample_id is not None:
            by_sample.setdefault(sample_id, []).append(found)
    if chosen and not by_sample:
        raise DataError(
            f"{file}: picture {chosen[0].picture!r} is not in the data, nor is any other; give its pictures"
        )
    splits = {
        split: [_predicted(sample, by_sample.get(sample.id, [])) for sample in samples]
        for split, samples in dataset.splits.items()
    }
    names, numbers = _classes(dataset, chosen)
    filled = replace(dataset, splits=splits, class_names=names, category_ids=numbers)
    return filled, _told(filled, len(every), len(chosen), sum(map(len, by_sample.values())), score)


def read_predictions(file: Path, dataset: DataSet) -> Iterator[Prediction]:
    """The entries of a file of COCO results; their classes by `category_name`, else by the data set's numbers."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file}: cannot be read as JSON ({error}); make it with rcnn predict --json") from None
    if not isinstance(content, list):
        raise DataError(f"{file}: not a list of predictions; make it with rcnn predict --json")
    numbered = {number: name for name, number in dataset.category_ids.items()}
    numbered = numbered or dict(enumerate(dataset.class_names, 1))
    for number, entry in enumerate(content, 1):
        found = _prediction(entry, numbered)
        if found is None:
            raise DataError(
                f"{file}: entry {number} lacks file_name or image_id, a category_name or a category_id of the data, "
                "a bbox of four numbers, or a score; make it with rcnn predict --json"
            )
        yield found


def _prediction(entry: Any, numbered: Mapping[int, str]) -> Prediction | None:
    if not isinstance(entry, dict):
        return None
    picture, number, box = entry.get("file_name") or entry.get("image_id"), entry.get("category_id"), entry.get("bbox")
    name = entry.get("category_name") or (numbered.get(number) if isinstance(number, int) else None)
    row = [*box, entry.get("score")] if isinstance(box, list) else []
    if len(row) != 5 or not all(isinstance(value, int | float) and math.isfinite(value) for value in row):
        return None
    if not isinstance(picture, str | int) or not isinstance(name, str):
        return None
    x, y, width, height, score = map(float, row)
    return Prediction(picture, name, number if isinstance(number, int) else None, (x, y, x + width, y + height), score)


def _predicted(sample: Sample, found: list[Prediction]) -> Sample:
    """The sample with predictions for truth, best first."""
    best = sorted(found, key=lambda one: -one.score)
    height, width = _size(sample) if best else (0, 0)
    boxes = np.array([one.box for one in best], float).reshape(-1, 4).clip(0, (width, height, width, height))
    has_area = (boxes[:, 2:] - boxes[:, :2] >= LEAST_SIDE).all(axis=1)
    names = tuple(one.name for one, kept in zip(best, has_area, strict=True) if kept)
    return Sample(sample.id, sample.picture, boxes[has_area].astype(np.float32), names, coco_id=sample.coco_id)


def _size(sample: Sample) -> tuple[int, int]:
    if isinstance(sample.picture, Path):
        return picture_size(sample.picture)
    height, width, _ = resolve(sample.picture).shape
    return height, width


def _classes(dataset: DataSet, found: list[Prediction]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Class names, and their numbers in a COCO file where these are known for all and differ."""
    numbers = {one.name: one.number for one in found if one.name not in dataset.class_names}
    new = sorted(numbers, key=lambda name: (numbers[name] is None, numbers[name] or 0, name))
    given = {name: number for name, number in numbers.items() if number is not None}
    all_numbers = dataset.category_ids | given
    names = (*dataset.class_names, *new)
    is_numbered = all_numbers.keys() >= set(names) and len(set(all_numbers.values())) == len(all_numbers)
    return names, all_numbers if is_numbered else {}


def _told(filled: DataSet, every: int, chosen: int, used: int, score: float) -> list[str]:
    samples = every_sample(filled)
    kept, empty = sum(len(sample.names) for sample in samples), sum(not sample.names for sample in samples)
    lines = {
        f"{every - chosen} of {every} predictions score under {score:g}; left out": every - chosen,
        f"{chosen - used} of them are of other pictures; left out": chosen - used,
        f"{used - kept} of them lie outside of their picture; left out": used - kept,
        f"no prediction in {empty} of {len(samples)} pictures; written as pictures without objects": empty,
    }
    return [line for line, number in lines.items() if number]
