"""What is wrong with a data set, and what is done about it."""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from rcnn.choices import Policy
from rcnn.errors import DataError
from rcnn.sample import DataSet, Sample

Level = Literal["error", "warning"]
Kind = Literal[
    "no-area",
    "inverted",
    "not-a-number",
    "no-box",
    "no-name",
    "outside",
    "unknown-category",
    "unknown-picture",
    "duplicate-id",
    "duplicate-box",
    "missing-annotation",
    "missing-picture",
    "outside-folder",
    "file-name",
    "not-a-picture",
    "truncated-picture",
    "unreadable-picture",
    "broken-xml",
    "unsafe-xml",
    "broken-json",
    "broken-entry",
    "size",
    "zero-size",
    "exif-rotation",
    "class-typo",
    "class-in-one-split",
    "in-two-splits",
    "near-duplicate",
    "duplicate-picture",
    "not-in-split",
    "missing-split",
    "wrong-path",
    "class-names",
    "extra-column",
]
Size = tuple[int, int]
"""Height and width in pixels."""

MOST_LINES = 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finding:
    """Something wrong in a data set: an error leaves an object or a picture out, a warning does not."""

    level: Level
    kind: Kind
    file: str
    """The file to mend: a picture, or the annotation that has the object."""
    object: int | None
    """The object's place in its picture's annotation, from 1; None where the whole file is meant."""
    class_name: str | None
    detail: str
    picture: str | None = field(default=None, compare=False)
    """The sample id of the picture that has the object."""
    mended: Sample | None = field(default=None, compare=False, repr=False)
    """The object alone, as it can be mended: a sample of one; None where it can but be left out."""

    def __str__(self) -> str:
        """One line for people."""
        name = f" ({self.class_name})" if self.class_name else ""
        place = f"object {self.object}{name}: " if self.object is not None else ""
        return f"{self.file}: {place}{self.detail}"


class DefectError(Exception):
    """Raised where one object or one file is read; the reader turns it into a finding and goes on."""

    def __init__(self, kind: Kind, detail: str, class_name: str | None = None, mended: Any = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.class_name = class_name
        self.mended = mended
        """The object as it can be mended, in the form that the reader's next step takes; None where it cannot."""

    def finding(self, file: object, number: int | None = None) -> Finding:
        """The error-level finding, in the object of this number of that file."""
        return Finding("error", self.kind, str(file), number, self.class_name, str(self))


@dataclass(frozen=True)
class OpenedData:
    """A data set as it was read: without its defective objects, which are among the findings."""

    dataset: DataSet
    findings: list[Finding]
    sizes: dict[str, Size] = field(default_factory=dict)
    """Sample id to the picture's height and width according to its annotation, where that tells."""
    files: dict[str, Path] = field(default_factory=dict)
    """Sample id to the file that annotates it, where that is another than the picture."""
    numbers: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Sample id to the numbers of its objects, as findings have them: places in the annotation, or lines."""


def enforce(dataset: DataSet, findings: Iterable[Finding], policy: Policy, name: str = "data") -> DataSet:
    """The data set without what has error-level findings, or a DataError that lists them.

    With `fail`, any error raises: a headline that begins with `name`, then a line a finding, 20 at most. With `drop`,
    pictures with an error of their own are left out too, and what is left out is logged.
    """
    errors = [finding for finding in findings if finding.level == "error"]
    if errors and policy == "fail":
        headline = f"{name}: {_count(errors)}; mend them or pass --bad-boxes drop"
        raise DataError("\n".join([headline, *_lines(errors)]))
    if errors:
        _log.warning("%s: dropped %s", name, _count(errors))
    for line in _lines(errors):
        _log.warning("dropped %s", line)
    kept = _without(dataset, {finding.file for finding in errors if finding.object is None})
    if not any(kept.splits.values()):
        raise DataError(f"{name}: no picture is left; mend the data")
    return kept


def picture_name(sample: Sample) -> str:
    """How findings name a sample's picture: its file, or its id if it has none."""
    return str(sample.picture) if isinstance(sample.picture, Path) else sample.id


def _without(dataset: DataSet, files: Collection[str]) -> DataSet:
    splits = {
        split: [sample for sample in samples if picture_name(sample) not in files]
        for split, samples in dataset.splits.items()
    }
    return replace(dataset, splits=splits)


def _count(errors: Sequence[Finding]) -> str:
    objects = sum(finding.object is not None for finding in errors)
    counts = {"defective object": objects, "other defect": len(errors) - objects}
    return " and ".join(f"{n} {word}{'s' * (n > 1)}" for word, n in counts.items() if n)


def _lines(errors: Sequence[Finding]) -> list[str]:
    more = len(errors) - MOST_LINES
    return [str(finding) for finding in errors[:MOST_LINES]] + ([f"... and {more} more"] if more > 0 else [])
