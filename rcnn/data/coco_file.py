"""One COCO JSON file: its pictures, their objects and its categories."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rcnn.data.coco_layout import Pictures
from rcnn.data.defects import DefectError, Finding, Kind, Level, Size
from rcnn.data.files import told_otherwise
from rcnn.data.objects import Box, Frame, TrueObject, make_sample, numbers, show
from rcnn.data.places import leads_out
from rcnn.sample import Sample

Entry = dict[str, Any]
Id = int | str

_NEEDS: dict[str, dict[str, tuple[type, ...]]] = {
    "images": {"id": (int, str), "file_name": (str,)},
    "annotations": {"image_id": (int, str)},
    "categories": {"id": (int,), "name": (str,)},
}
"""The lists of a COCO file, and what no entry of them can do without."""


@dataclass
class CocoReading:
    """What has been read of one file."""

    file: Path
    pictures: Pictures
    samples: dict[str, Sample] = field(default_factory=dict)
    """By file name."""
    sizes: dict[str, Size] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    """Category number to class name."""
    numbers: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """File name to the places of its sound objects among those of the picture."""
    seen: set[Path] = field(default_factory=set)

    def blame(self, kind: Kind, detail: str, level: Level = "error", picture: str | None = None) -> None:
        """Adds a finding on the file as a whole, or on one of its pictures."""
        self.findings.append(Finding(level, kind, str(self.file), None, None, detail, picture))


def from_coco(box: Box) -> Box:
    """(x, y, width, height) as (x1, y1, x2, y2)."""
    x, y, width, height = box
    return x, y, x + width, y + height


def to_coco(box: Box) -> Box:
    """The inverse of `from_coco`."""
    x1, y1, x2, y2 = box
    return x1, y1, x2 - x1, y2 - y1


def read_file(file: Path, pictures: Pictures) -> CocoReading:
    """The samples and findings of a file, which is itself one if it is not COCO's JSON."""
    reading = CocoReading(file, pictures)
    try:
        content = _load(file)
    except DefectError as defect:
        reading.findings.append(defect.finding(file))
        return reading
    for category in _entries(content, "categories", reading):
        _read_category(category, reading)
    images: dict[Id, Entry] = {}
    for image in _entries(content, "images", reading):
        if images.setdefault(image["id"], image) is not image:
            reading.blame("duplicate-id", f"picture number {image['id']} is given twice; the first is kept")
    of_image: dict[Id, list[Entry]] = {}
    count: Counter[Id] = Counter()
    for annotation in _entries(content, "annotations", reading):
        of_image.setdefault(annotation["image_id"], []).append(annotation)
        count.update([annotation["id"]] if isinstance(annotation.get("id"), int | str) else [])
    for number, times in count.items():
        if times > 1:
            detail = f"annotation number {number} is given {times} times; all are read, but COCO's own tools keep one"
            reading.blame("duplicate-id", detail, "warning")
    for image_id, image in images.items():
        _read_image(image, of_image.pop(image_id, []), reading)
    for image_id, annotations in of_image.items():
        detail = f"{len(annotations)} annotations are of picture number {image_id}, which is not among the images"
        reading.blame("unknown-picture", detail)
    return reading


def _load(file: Path) -> Entry:
    try:
        content = json.loads(file.read_bytes(), object_hook=_without_outline)
    except (OSError, ValueError, RecursionError) as error:
        raise DefectError("broken-json", f"cannot be read as JSON ({error}); export it anew") from None
    missing = [key for key in _NEEDS if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        told = f"not COCO's JSON: no list of {', '.join(missing)}; give the file with the truth"
        raise DefectError("broken-json", told)
    return content


def _without_outline(entry: Entry) -> Entry:
    """Outlines are most of a COCO file, and no detector of boxes needs them: gigabytes less to hold."""
    entry.pop("segmentation", None)
    return entry


def _entries(content: Entry, key: str, reading: CocoReading) -> Iterator[Entry]:
    """The entries of a list that have what every such entry needs, with numbers or words where these belong."""
    for number, entry in enumerate(content[key], 1):
        if isinstance(entry, dict) and all(isinstance(entry.get(name), kind) for name, kind in _NEEDS[key].items()):
            yield entry
        else:
            reading.blame("broken-entry", f"number {number} of {key} lacks {' or '.join(_NEEDS[key])}; left out")


def _read_category(category: Entry, reading: CocoReading) -> None:
    name = " ".join(category["name"].split())
    if category["id"] in reading.names:
        reading.blame("duplicate-id", f"category number {category['id']} is given twice; the first is kept")
        return
    if name in reading.names.values():
        reading.blame("duplicate-id", f"two categories are called {name}; read as one class", "warning")
    reading.names[category["id"]] = name


def _read_image(image: Entry, annotations: list[Entry], reading: CocoReading) -> None:
    name = image["file_name"].replace("\\", "/").removeprefix("./")
    picture = reading.pictures.find(name)
    leaves = leads_out(reading.pictures.root, name, reading.file.parent)
    if picture is None and leaves:
        reading.blame("outside-folder", f"picture {name} lies outside the data's folder: never opened")
        return
    if picture is None:
        reading.blame("missing-picture", reading.pictures.missing(name))
        return
    if picture in reading.seen or name in reading.samples:
        reading.blame("duplicate-id", f"picture {name} is given twice; the first is kept")
        return
    reading.seen.add(picture)
    if leaves:
        detail = f"picture {name} lies outside the data's folder and is never opened; read {picture.name} for it"
        reading.blame("outside-folder", detail, "warning", name)
    elif told := told_otherwise(name, picture):
        reading.blame("file-name", told, "warning", name)
    size = _size(image)
    if size:
        reading.sizes[name] = size
    elif image.get("height") is not None or image.get("width") is not None:
        told = f"{show([image.get('width'), image.get('height')])} for width and height"
        reading.blame("zero-size", f"picture {name} has {told}; the picture itself is asked", "warning", name)
    coco_id = image["id"] if isinstance(image["id"], int) else None
    read = partial(_object, names=reading.names)
    made = make_sample(name, enumerate(annotations, 1), read, Frame(picture, size), reading.file)
    reading.samples[name], reading.numbers[name] = replace(made.sample, coco_id=coco_id), made.numbers
    for finding in made.findings:
        number = annotations[(finding.object or 1) - 1].get("id")
        told = f", annotation {number}" if isinstance(number, int) else ""
        reading.findings.append(replace(finding, detail=f"picture {name}{told}: {finding.detail}"))


def _size(image: Entry) -> Size | None:
    height, width = image.get("height"), image.get("width")
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        return height, width
    return None


def _object(annotation: Entry, names: Mapping[int, str]) -> TrueObject:
    category = annotation.get("category_id")
    name = names.get(category) if isinstance(category, int) else None
    if name is None:
        raise DefectError("unknown-category", f"category number {category} is not among the categories")
    written = annotation.get("bbox")
    if not isinstance(written, list):
        raise DefectError("no-box", "has no box", name)
    box = numbers(written, name)
    if box[2] == 0 or box[3] == 0:
        raise DefectError("no-area", f"box {show(written)} (x, y, width, height) has no area", name)
    area, crowd = _area(annotation.get("area")), bool(annotation.get("iscrowd"))
    return TrueObject(name, from_coco(box), written, bool(annotation.get("difficult")), crowd, area)


def _area(value: object) -> float | None:
    """Square pixels of the object's outline; None where the file tells none that can be."""
    return float(value) if isinstance(value, int | float) and 0 < value < math.inf else None
