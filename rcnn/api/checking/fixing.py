"""A repaired copy of a data set, and the list of what was done to it. The data itself is never touched."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from rcnn.api.checking import Checked
from rcnn.data import Finding, Format, every_sample
from rcnn.data.checking.upright import write_upright
from rcnn.data.defects import picture_name
from rcnn.data.recognise import recognise
from rcnn.data.writing import Written, refuse, write_data
from rcnn.errors import ConfigError, DataError
from rcnn.runs import write_text
from rcnn.sample import DataSet, Sample

FILE = "repairs.json"
"""In the copy: what was done."""

REPAIRED = {
    "outside": "cut at the picture's edge",
    "duplicate-box": "the second is left out",
    "zero-size": "written as the picture is",
    "size": "written as the picture is",
    "file-name": "written as the file is called",
    "outside-folder": "the picture in the folder is named",
    "duplicate-id": "numbered anew",
    "wrong-path": "written as found",
    "class-names": "written as read",
    "extra-column": "left out",
    "missing-annotation": "left out",
    "not-in-split": "left out",
}
"""What becomes of warnings; those on other kinds are for people to judge."""


@dataclass(frozen=True)
class Repair:
    """What became of one finding, or of one picture."""

    finding: Finding
    action: str

    def to_json(self) -> dict[str, Any]:
        """For repairs.json."""
        found = self.finding
        place = {"file": found.file, "object": found.object, "class": found.class_name, "picture": found.picture}
        return {"kind": found.kind, **place, "action": self.action, "detail": found.detail}


@dataclass(frozen=True)
class Fixed:
    """A repaired copy."""

    written: Written
    repairs: list[Repair]
    """What was mended."""
    lost: list[Repair]
    """What could but be left out."""
    open: list[Finding]
    """Warnings that only people can judge."""


def fix(checked: Checked, out: Path, format: Format | None = None, overwrite: bool = False) -> Fixed:
    """Write a repaired copy in the data's own format (samples that are no files: COCO), with the list of repairs.

    Corners are put in order, boxes cut at the edge, sizes and names written as the pictures have them, doubled boxes
    left out once, pictures turned as their EXIF data tells; where boxes only fit a picture unturned, it stays so and
    loses the orientation. Objects and pictures that cannot be mended are left out. Raises ConfigError where `out`
    exists or lies in the data, and DataError where no picture is left.
    """
    source = Path(checked.data)
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise ConfigError(f"{out}: inside of the data itself, which is never touched; give --fix another folder")
    refuse(out, overwrite)
    repairs, lost, left = _sorted_out(checked.findings)
    with TemporaryDirectory() as folder:
        dataset, turned = _mended(checked, Path(folder))
        if not any(dataset.splits.values()):
            raise DataError(f"{checked.data}: no picture is left to write; mend the data")
        own = format or (recognise(source) if source.exists() else "coco")
        written = write_data(dataset, own, out, overwrite=overwrite)
    fixed = Fixed(written, repairs + turned, lost, left)
    write_text(out / FILE, json.dumps(_told(fixed, checked.data), indent=1, ensure_ascii=False) + "\n")
    return fixed


def _told(fixed: Fixed, data: str) -> dict[str, Any]:
    rows = {"mended": fixed.repairs, "left_out": fixed.lost}
    told = {name: [repair.to_json() for repair in part] for name, part in rows.items()}
    still = [Repair(finding, "for you to judge").to_json() for finding in fixed.open]
    return {"format_version": 1, "data": data, **told, "open": still, "notes": list(fixed.written.notes)}


def _sorted_out(findings: Sequence[Finding]) -> tuple[list[Repair], list[Repair], list[Finding]]:
    """What is mended, what is left out, and what is for people."""
    repairs, lost, left = [], [], []
    for finding in findings:
        if finding.level == "error" and finding.mended is not None:
            repairs.append(Repair(finding, "corners put in order"))
        elif finding.level == "error" and finding.kind == "exif-rotation":
            repairs.append(Repair(finding, "left unturned, without the orientation"))
        elif finding.level == "error":
            lost.append(Repair(finding, "left out" if finding.object is None else "object left out"))
        elif finding.kind in REPAIRED:
            repairs.append(Repair(finding, REPAIRED[finding.kind]))
        else:
            left.append(finding)
    return repairs, lost, left


def _mended(checked: Checked, folder: Path) -> tuple[DataSet, list[Repair]]:
    """The data set as it is to be written, with pictures turned in `folder`, and a repair for each of those."""
    dataset = checked.opened.dataset
    objects: dict[str, list[Sample]] = {}
    for finding in checked.opened.findings:
        if finding.mended is not None and finding.picture is not None:
            objects.setdefault(finding.picture, []).append(finding.mended)
    kept: dict[str, Sample] = {}
    turned: list[Repair] = []
    for number, sample in enumerate(every_sample(dataset)):
        look = checked.looks[sample.id]
        errors = {finding.kind for finding in look.findings if finding.level == "error"}
        if errors - {"exif-rotation"}:
            continue
        whole = _once(sample.with_objects([sample, *objects.get(sample.id, ())]))
        if not look.upright and isinstance(sample.picture, Path):
            target = folder / str(number) / sample.picture.name  # the name stays, whatever its folder was
            target.parent.mkdir()
            write_upright(sample.picture, target, as_stored=bool(errors))
            turned += [] if errors else [_turned(sample)]
            whole = replace(whole, picture=target)
        kept[sample.id] = whole
    splits = {name: [kept[s.id] for s in part if s.id in kept] for name, part in dataset.splits.items()}
    return replace(dataset, splits=splits), turned


def _turned(sample: Sample) -> Repair:
    detail = "EXIF tells to turn the picture, which some programs do and some do not"
    return Repair(Finding("warning", "exif-rotation", picture_name(sample), None, None, detail, sample.id), "turned")


def _once(sample: Sample) -> Sample:
    """A sample without objects of the same class and box as one before."""
    seen: set[object] = set()
    keep = []
    for key in zip(sample.names, map(tuple, sample.boxes.tolist()), strict=True):
        keep.append(key not in seen)
        seen.add(key)
    return sample.keep(np.array(keep, bool))
