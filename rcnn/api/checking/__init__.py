"""A data set looked at before training: what is wrong in it, what it holds, and what its anchors can reach."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rcnn import build
from rcnn.api.checking.audit import Audit, audit
from rcnn.api.checking.boxes import InputBoxes, input_boxes
from rcnn.api.checking.summary import Summary, as_rows, summarised
from rcnn.config import Config
from rcnn.data import Finding, Format, OpenedData, every_sample, open_data, samples_of
from rcnn.data.checking import Look, all_findings, look_at, sound_samples
from rcnn.data.defects import Kind
from rcnn.presets.overrides import preset
from rcnn.sample import DataSet

FORMAT_VERSION = 1
_FIRST: tuple[Kind, ...] = ("in-two-splits", "near-duplicate", "exif-rotation", "class-typo", "class-in-one-split")
"""Warnings that spoil what is learned or measured come before the others."""


@dataclass(frozen=True)
class Checked:
    """What `check` has found; printed, it is the summary's first line."""

    data: str
    opened: OpenedData
    looks: dict[str, Look]
    findings: list[Finding]
    """Errors first, those of a kind together."""
    summary: Summary
    anchors: Audit | None
    """None for a method without anchors, and for data without objects."""

    @property
    def errors(self) -> list[Finding]:
        """What training would refuse."""
        return [finding for finding in self.findings if finding.level == "error"]

    def to_json(self) -> dict[str, Any]:
        """What `rcnn check --json` writes: see docs/schemas/check.json."""
        whole = self.summary.whole
        return {
            "format_version": FORMAT_VERSION,
            "data": self.data,
            "pictures": whole.pictures,
            "boxes": whole.boxes,
            "classes": whole.classes,
            "findings": [as_row(finding) for finding in self.findings],
            "splits": as_rows(self.summary.splits),
            "summary": self.summary.to_json(),
            "anchors": self.anchors.to_json() if self.anchors else None,
        }


def check(
    data: Path | str | DataSet,
    format: Format | None = None,
    split: str | None = None,
    config: Config | str = "faster-rcnn-mobilenet-fpn",
    on_read: Callable[[int], object] = lambda pictures: None,
    on_picture: Callable[[], object] = lambda: None,
) -> Checked:
    """What `rcnn check` says, as an object: findings, a summary, and the reach of the anchors of a preset or `config`.

    With `split` the pictures of that alone are looked at; near-duplicates across splits are then not to be seen.
    `on_read` is called with the number of pictures, and `on_picture` after each. Raises DataError for what is no data
    set or has no such split, and ConfigError for a preset that is not known.
    """
    chosen = preset(config) if isinstance(config, str) else config
    opened = sound_samples(data) if isinstance(data, DataSet) else open_data(Path(data), format)
    part = _of_split(opened, split) if split else opened
    on_read(len(every_sample(part.dataset)))
    looks = look_at(part, chosen.input.max_pixels, True, chosen.input.channels, on_picture)
    findings = _sorted(_about(all_findings(opened, looks), part if split else None))
    boxes = _boxes(part.dataset, looks, chosen)
    summary = summarised(part.dataset, boxes, (chosen.input.short, chosen.input.long))
    teachers = {split: samples for split, samples in part.dataset.splits.items() if split == "train"}
    reached = audit(boxes, chosen, _boxes(replace(part.dataset, splits=teachers), looks, chosen))
    name = "the samples" if isinstance(data, DataSet) else str(data)
    return Checked(name, part, looks, findings, summary, reached)


def as_row(finding: Finding) -> dict[str, Any]:
    """A finding for JSON."""
    place = {"file": finding.file, "object": finding.object, "class": finding.class_name}
    return {"level": finding.level, "kind": finding.kind, **place, "detail": finding.detail, "picture": finding.picture}


def _boxes(dataset: DataSet, looks: dict[str, Look], config: Config) -> InputBoxes:
    sizes = {one: look.size for one, look in looks.items() if look.size}
    samples = every_sample(dataset)
    return input_boxes(samples, sizes, build.preprocess(config.input), config.training.train_difficult)


def _of_split(opened: OpenedData, split: str) -> OpenedData:
    return replace(opened, dataset=replace(opened.dataset, splits={split: samples_of(opened.dataset, split)}))


def _about(findings: list[Finding], part: OpenedData | None) -> list[Finding]:
    """Those on the pictures of a part of the data, and those on no picture."""
    if part is None:
        return findings
    ids = {None, *(sample.id for sample in every_sample(part.dataset))}
    return [finding for finding in findings if finding.picture in ids]


def _sorted(findings: list[Finding]) -> list[Finding]:
    def place(finding: Finding) -> tuple[bool, int, str]:
        rank = _FIRST.index(finding.kind) if finding.kind in _FIRST else len(_FIRST)
        return finding.level != "error", rank, finding.kind

    return sorted(findings, key=place)
