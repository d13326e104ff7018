"""CSV: a row an object, with picture, box and class; in one file, or a file a split."""

from functools import partial
from pathlib import Path

from rcnn.data.coco_layout import split_names
from rcnn.data.csv_file import CsvReading, Row, looks_like_csv, read_csv_file, read_object
from rcnn.data.defects import Finding, OpenedData
from rcnn.data.files import CLASSES, PICTURE_SUFFIXES, SPLIT_ORDER, child, files_under, listed_names
from rcnn.data.objects import Frame, Made, make_sample
from rcnn.data.places import picture_ids
from rcnn.data.splits import draw_splits
from rcnn.errors import DataError
from rcnn.sample import DataSet

_Split = dict[str, tuple[Path, Made]]
"""By sample id: the table that has a picture, and what was made of its rows."""
SUFFIXES = frozenset({".csv", ".tsv"})


def read_csv(path: Path, seed: int = 0) -> OpenedData:
    """The data set of a CSV file, or of a folder with CSV files.

    A row without a box is a picture, maybe one without objects. Splits are what a column `split` tells, else the
    names of the files (`train.csv`), else those of their folders; a single file that tells none is split by chance
    with `seed`. Class names are those of `classes.txt` in its order, then others by the alphabet. Sample ids are the
    pictures' names without suffix, where several share one their paths. Raises DataError where there is no such file,
    or one is no table of boxes.
    """
    root, files = _files(path)
    names = split_names(files, root)
    readings = [read_csv_file(file, root, names[file]) for file in files]
    pictures = dict.fromkeys(picture for reading in readings for part in reading.rows.values() for picture in part)
    ids = picture_ids(pictures, root)
    splits: dict[str, _Split] = {}
    for reading in readings:
        for split, rows in reading.rows.items():
            _add(splits.setdefault(split, {}), rows, reading, ids)
    splits = dict(sorted(splits.items(), key=_place))
    samples = {split: [made.sample for _, made in part.values()] for split, part in splits.items()}
    drawn = "" in samples
    used = {name for part in samples.values() for sample in part for name in sample.names}
    dataset = DataSet(draw_splits(samples[""], seed) if drawn else samples, _class_names(root, used), drawn=drawn)
    findings = [finding for reading in readings for finding in reading.findings] + _in_no_row(path, set(pictures))
    sizes = {ids[picture]: size for reading in readings for picture, size in reading.sizes.items()}
    tables = {sample_id: file for part in splits.values() for sample_id, (file, _) in part.items()}
    numbers = {sample_id: made.numbers for part in splits.values() for sample_id, (_, made) in part.items()}
    return OpenedData(dataset, findings, sizes, tables, numbers)


def _in_no_row(path: Path, named: set[Path]) -> list[Finding]:
    """How many pictures of a data folder no table names; of a table by itself others may be another one's."""
    known = {picture.resolve() for picture in named}
    count = sum(file.resolve() not in known for file in files_under(path, PICTURE_SUFFIXES)) if path.is_dir() else 0
    detail = f"{count} pictures are in no row; left out, for they may show objects"
    return [Finding("warning", "missing-annotation", str(path), None, None, detail)] if count else []


def _place(item: tuple[str, object]) -> int:
    return SPLIT_ORDER.get(item[0], 9)


def _files(path: Path) -> tuple[Path, list[Path]]:
    """The data folder, and the tables in it; raises DataError if there are none."""
    if path.is_file():
        folder = path.parent
        return (folder.parent if folder.name.lower() == "annotations" else folder), [path]
    files = [file for file in files_under(path, SUFFIXES) if looks_like_csv(file)]
    if not files:
        raise DataError(f"{path}: no CSV file with columns file,x1,y1,x2,y2,class in it; give one")
    return path, files


def _add(split: _Split, rows: dict[Path, list[Row]], reading: CsvReading, ids: dict[Path, str]) -> None:
    """Puts the samples of a file into a split, unless another file has them there."""
    read = partial(read_object, columns=reading.columns)
    for picture, part in rows.items():
        frame = Frame(picture, reading.sizes.get(picture))
        if ids[picture] in split:
            reading.blame("duplicate-id", f"picture {picture.name} is in another file of its split; that is kept")
            continue
        made = make_sample(ids[picture], ((row.line, row) for row in part), read, frame, reading.file)
        split[ids[picture]] = reading.file, made
        reading.findings += made.findings


def _class_names(root: Path, used: set[str]) -> tuple[str, ...]:
    file = child(root, CLASSES)
    listed = listed_names(file) if file else ()
    return (*listed, *sorted(used.difference(listed)))
