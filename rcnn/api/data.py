"""A data set for training and measuring: looked at as a whole, then by split."""

import json
import logging
import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rcnn.data import MAX_PIXELS, Finding, Format, Policy, enforce, every_sample, open_data, samples_of
from rcnn.data.checking import all_findings, look_at, sound_samples
from rcnn.errors import ConfigError, DataError
from rcnn.runs import RunFolder
from rcnn.sample import DataSet, Sample

_log = logging.getLogger(__name__)

Data = Path | str | DataSet
"""Where a data set is, or the data set itself."""


def read_data(
    data: Data,
    bad_boxes: Policy = "fail",
    format: Format | None = None,
    max_pixels: int = MAX_PIXELS,
    channels: int | None = 3,
) -> DataSet:
    """A data set whose pictures, of so many channels (None: of any), and boxes have all been looked at.

    Raises DataError with the list of defects, unless `bad_boxes` says to drop them.
    """
    opened = sound_samples(data) if isinstance(data, DataSet) else open_data(Path(data), format)
    findings = all_findings(opened, look_at(opened, max_pixels, channels=channels))
    name = "the samples" if isinstance(data, DataSet) else str(data)
    dataset = enforce(opened.dataset, findings, bad_boxes, name)
    warn(findings, name, None if isinstance(data, DataSet) else f"rcnn check {shlex.quote(str(data))}")
    return dataset


def warn(findings: Iterable[Finding], name: str, command: str | None) -> None:
    """One line in the log on what hinders nobody and should be known; `command` tells more."""
    count = Counter(finding.kind for finding in findings if finding.level == "warning")
    if count:
        kinds = ", ".join(f"{kind} {number}" for kind, number in count.most_common())
        more = f"; see {command}" if command else ""
        leak = "; LEAK: a picture is in two splits, so that AP is too good" if count["in-two-splits"] else ""
        _log.warning("%s: %d warning%s (%s)%s%s", name, count.total(), "s" * (count.total() > 1), kinds, leak, more)


def split(dataset: DataSet, name: str, advice: str) -> list[Sample]:
    """The samples of a split; raises an error with `advice` on what to pass instead where there are none."""
    try:
        samples = samples_of(dataset, name)
    except DataError as error:
        raise DataError(f"{error}; pass {advice}") from error
    if not samples:
        raise ConfigError(f"split '{name}': has no pictures; pass {advice}")
    return samples


def with_splits_of(folder: RunFolder, dataset: DataSet) -> DataSet:
    """The data set split as it was when the run began; for data without splits of its own, which may have grown."""
    if not dataset.drawn:
        return dataset
    if not folder.splits.is_file():
        return dataset
    by_id = {sample.id: sample for sample in every_sample(dataset)}
    stored = json.loads(folder.splits.read_text("utf-8"))
    splits = {name: [by_id[key] for key in ids if key in by_id] for name, ids in stored.items()}
    known = {name: part for name, part in splits.items() if part}
    return replace(dataset, splits=known) if known else dataset
