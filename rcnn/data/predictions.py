"""Predictions in the place of truth: what a detector found, to be looked through and mended by people."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from rcnn.data.coco_results import Result, named, read_results
from rcnn.data.known import KnownPictures
from rcnn.data.objects import LEAST_SIDE
from rcnn.data.picture import picture_size
from rcnn.data.splits import every_sample
from rcnn.errors import DataError
from rcnn.sample import DataSet, Sample


def with_predictions(dataset: DataSet, file: Path, score: float = 0.5) -> tuple[DataSet, list[str]]:
    """The data set with the predictions of at least `score` for truth, and a line on each thing that was left out.

    `file` is a list of COCO results, as `rcnn predict --json` writes it. Boxes are cut at the picture's edge. Classes
    are the data set's, and behind them those that the predictions alone have, by number. Raises DataError for a file
    of another kind, a class that neither names, and where no picture is the data set's.
    """
    every = [named(result, dataset) for result in read_results(file)]
    known = KnownPictures(every_sample(dataset))
    chosen = [found for found in every if found.score >= score]
    by_sample: dict[str, list[Result]] = {}
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


def _predicted(sample: Sample, found: list[Result]) -> Sample:
    """The sample with predictions for truth, best first."""
    best = sorted(found, key=lambda one: -one.score)
    height, width = picture_size(sample.picture) if best else (0, 0)
    boxes = np.array([one.box for one in best], float).reshape(-1, 4).clip(0, (width, height, width, height))
    has_area = (boxes[:, 2:] - boxes[:, :2] >= LEAST_SIDE).all(axis=1)
    names = tuple(one.class_name for one, kept in zip(best, has_area, strict=True) if kept)
    return Sample(sample.id, sample.picture, boxes[has_area].astype(np.float32), names, coco_id=sample.coco_id)


def _classes(dataset: DataSet, found: list[Result]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Class names, and their numbers in a COCO file where these are known for all and differ."""
    numbers = {one.class_name: one.class_number for one in found if one.class_name not in dataset.class_names}
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
