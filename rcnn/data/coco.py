"""COCO: one JSON file per split, with pictures in folders beside it."""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from rcnn.data.coco_file import CocoReading, read_file
from rcnn.data.coco_layout import Pictures, coco_files, split_names
from rcnn.data.defects import Finding, OpenedData, Size
from rcnn.data.splits import draw_splits
from rcnn.sample import DataSet, Sample


def read_coco(path: Path, seed: int = 0) -> OpenedData:
    """The data set of a JSON file, or of a folder with JSON files (`instances_*.json` alone where there are any).

    Splits are what the names of the files tell (`instances_train2017.json`: train), else those of their folders, else
    the files' own; a single file that tells none is split by chance with `seed`. Class names are all the categories,
    in the order of their numbers. Sample ids are the file names in the JSON, behind that of the split where in two
    splits one means different pictures. A file that is not COCO's JSON is a finding. Raises DataError if there is none.
    """
    root, files = coco_files(path)
    names = split_names(files, root)
    readings = {names[file] or "all": read_file(file, Pictures(file, root, names[file])) for file in files}
    numbers = _category_numbers(readings.values())
    joined = _join(readings)
    drawn = None in names.values()
    splits = draw_splits(joined.dataset.splits["all"], seed) if drawn else joined.dataset.splits
    return replace(joined, dataset=DataSet(splits, tuple(numbers), numbers, drawn))


def _join(readings: dict[str, CocoReading]) -> OpenedData:
    """All files as one, once ids are unique; the classes are still to be told."""
    different = {(name, sample.picture) for reading in readings.values() for name, sample in reading.samples.items()}
    count = Counter(name for name, _ in different)  # type: ignore[misc]
    splits: dict[str, list[Sample]] = {}
    sizes: dict[str, Size] = {}
    files: dict[str, Path] = {}
    numbers: dict[str, tuple[int, ...]] = {}
    findings: list[Finding] = []
    for split, reading in readings.items():
        ids = {name: name if count[name] == 1 else f"{split}/{name}" for name in reading.samples}
        splits[split] = [
            sample if ids[name] == name else replace(sample, id=ids[name]) for name, sample in reading.samples.items()
        ]
        numbers |= {ids[name]: places for name, places in reading.numbers.items()}
        sizes |= {ids[name]: size for name, size in reading.sizes.items()}
        files |= dict.fromkeys(ids.values(), reading.file)
        findings += [replace(found, picture=ids.get(found.picture or "")) for found in reading.findings]
    return OpenedData(DataSet(splits, ()), findings, sizes, files, numbers)


def _category_numbers(readings: Collection[CocoReading]) -> dict[str, int]:
    """Class name to category number, in the order of the numbers; a file that numbers otherwise is warned of."""
    numbers: dict[str, int] = {}
    for reading in readings:
        own = {name: number for number, name in reversed(reading.names.items())}
        for name, number in own.items():
            if numbers.setdefault(name, number) != number:
                detail = f"category {name} has the number {number}, in another file {numbers[name]}; results take that"
                reading.blame("duplicate-id", detail, "warning")
    return dict(sorted(numbers.items(), key=lambda item: (item[1], item[0])))
