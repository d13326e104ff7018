"""YOLO: a text file of labels per picture, classes by number, and a `data.yaml` that names them and the splits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rcnn.data.defects import Finding, OpenedData
from rcnn.data.files import PICTURE_SUFFIXES, files_under
from rcnn.data.objects import Frame, make_sample
from rcnn.data.picture import picture_size
from rcnn.data.places import picture_ids
from rcnn.data.splits import draw_splits
from rcnn.data.yolo_labels import Line, looks_like_labels, read_lines, read_object
from rcnn.data.yolo_layout import LabelFiles, Layout, lay_out
from rcnn.data.yolo_yaml import looks_like_description
from rcnn.errors import DataError
from rcnn.sample import DataSet, Sample


@dataclass
class _Reading:
    """What has been read so far; samples by picture."""

    names: dict[int, str] | None
    labels: LabelFiles
    samples: dict[Path, Sample] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    owners: dict[Path, Path] = field(default_factory=dict)
    """File of labels to the picture it describes."""
    numbers: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Sample id to the lines of its objects."""


def read_yolo(path: Path, seed: int = 0) -> OpenedData:
    """The data set of a `data.yaml`, of a folder with one, or of a folder with images and labels.

    A picture without a file of labels is one without objects. Splits are those of the `data.yaml`, else the lists
    `train.txt` and so on, else folders called train, val and so on, else drawn with `seed`. Class names stand in the
    order of their numbers. Sample ids are the pictures' names without suffix, where several share one their paths.
    Raises DataError if there is no picture, no file of labels, or no `data.yaml` that can be read.
    """
    layout = lay_out(path)
    pictures = dict.fromkeys(picture for part in layout.splits.values() for picture in part)
    reading = _Reading(layout.names, LabelFiles(layout.root))
    for picture, sample_id in picture_ids(pictures, layout.root).items():
        _read_picture(picture, sample_id, reading)
    if not reading.owners:
        raise DataError(
            f"{path}: none of its {len(pictures)} pictures has a file of labels; labels/a.txt is images/a.jpg's"
        )
    splits = {
        split: [reading.samples[picture] for picture in part if picture in reading.samples]
        for split, part in layout.splits.items()
    }
    drawn = "" in splits
    findings = [*layout.findings, *_about_labels(layout, reading), *reading.findings]
    names = _class_names(layout.names, reading.samples)
    dataset = DataSet(draw_splits(splits[""], seed) if drawn else splits, names, drawn=drawn)
    files = {
        reading.samples[picture].id: file for file, picture in reading.owners.items() if picture in reading.samples
    }
    return OpenedData(dataset, findings, files=files, numbers=reading.numbers)


def looks_like_yolo(path: Path) -> bool:
    """Whether a folder has a `data.yaml`, or labels in a folder called labels or beside pictures of the same name."""
    if any(file.suffix.lower() in (".yaml", ".yml") and looks_like_description(file) for file in path.iterdir()):
        return True
    texts = [file for file in files_under(path, {".txt"}) if "ImageSets" not in file.parts]
    if not texts:
        return False
    pictures = {picture.with_suffix("") for picture in files_under(path, PICTURE_SUFFIXES)}
    placed = (file for file in texts if "labels" in _folders(file, path) or file.with_suffix("") in pictures)
    return any(looks_like_labels(file) for file in placed)


def _folders(file: Path, root: Path) -> list[str]:
    return [name.lower() for name in file.relative_to(root).parts[:-1]]


def _read_picture(picture: Path, sample_id: str, reading: _Reading) -> None:
    file = reading.labels.find(picture)
    if file is None:
        reading.samples[picture] = Sample(sample_id, picture)
        return
    other = reading.owners.setdefault(file, picture)
    if other != picture:
        detail = f"labels both {other.name} and {picture.name}; the first is kept: rename one of them"
        reading.findings.append(Finding("error", "duplicate-id", str(file), None, None, detail))
        return
    try:
        lines = read_lines(file)
        size = picture_size(picture) if lines else (0, 0)
    except OSError as error:
        reading.findings.append(Finding("error", "broken-entry", str(file), None, None, f"cannot be read ({error})"))
        return
    except DataError as error:
        detail = str(error).removeprefix(f"{picture}: ")
        reading.findings.append(Finding("error", "unreadable-picture", str(picture), None, None, detail))
        return
    read = partial(read_object, names=reading.names, size=size)
    numbered = ((line.number, line) for line in lines)
    made = make_sample(sample_id, numbered, read, Frame(picture, size), file)
    reading.samples[picture], reading.numbers[sample_id] = made.sample, made.numbers
    reading.findings += made.findings + _about_confidence(file, lines)


def _about_confidence(file: Path, lines: list[Line]) -> list[Finding]:
    count = sum(line.has_confidence for line in lines)
    detail = f"{count} of {len(lines)} lines have a sixth column, left unread; are these predictions, not truth?"
    return [Finding("warning", "extra-column", str(file), None, None, detail)] if count else []


def _about_labels(layout: Layout, reading: _Reading) -> list[Finding]:
    """Findings on labels without pictures, splits without labels, and classes without names."""
    lost = [file for file in reading.labels.without_picture() if looks_like_labels(file)]
    findings = [
        Finding("error", "missing-picture", str(file), None, None, f"no picture called {file.stem}") for file in lost
    ]
    owned = set(reading.owners.values())
    for split, pictures in layout.splits.items():
        if pictures and owned.isdisjoint(pictures):
            detail = f"none of the {len(pictures)} pictures of {split} has a file of labels; read as without objects"
            findings.append(Finding("warning", "missing-annotation", str(layout.root), None, None, detail))
    if layout.names is None:
        detail = "nothing names the classes (data.yaml, classes.txt or obj.names); they are called by their numbers"
        findings.append(Finding("warning", "class-names", str(layout.root), None, None, detail))
    return findings


def _class_names(names: Mapping[int, str] | None, samples: Mapping[Path, Sample]) -> tuple[str, ...]:
    if names is None:
        return tuple(sorted({name for sample in samples.values() for name in sample.names}, key=int))
    return tuple(dict.fromkeys(names[number] for number in sorted(names)))
