"""Samples that a user made: looked at as those of files are."""

from collections import Counter
from dataclasses import replace

import numpy as np

from rcnn.data.defects import Finding, Kind, OpenedData
from rcnn.errors import DataError
from rcnn.sample import DataSet, Sample


def sound_samples(dataset: DataSet) -> OpenedData:
    """A user's own samples without their defective objects, which are reported as those of files are.

    Raises DataError where two samples of a split share an id, which keys their randomness, and for proposals that are
    not finite.
    """
    findings: dict[str, list[Finding]] = {}
    numbers: dict[str, tuple[int, ...]] = {}
    splits = {}
    for name, samples in dataset.splits.items():
        twice = [sample_id for sample_id, count in Counter(s.id for s in samples).items() if count > 1]
        if twice:
            raise DataError(f"split '{name}': two samples have the id {twice[0]!r}; give each its own")
        splits[name] = [_sound(sample, findings, numbers) for sample in samples]
    errors = [found for part in findings.values() for found in part]
    return OpenedData(replace(dataset, splits=splits), errors, numbers=numbers)


def _sound(sample: Sample, findings: dict[str, list[Finding]], numbers: dict[str, tuple[int, ...]]) -> Sample:
    """The sample's sound objects; what is wrong with the others, and the places of those, by its id."""
    if sample.proposals is not None and not np.isfinite(sample.proposals).all():
        raise DataError(f"sample {sample.id}: one of its proposals is not finite; leave it out")
    finite = np.isfinite(sample.boxes).all(axis=1)
    with np.errstate(invalid="ignore"):
        good = finite & ((sample.boxes[:, 2:] - sample.boxes[:, :2]) > 0).all(axis=1)
    numbers[sample.id] = tuple((np.flatnonzero(good) + 1).tolist())
    if good.all():
        return sample
    kinds: dict[bool, tuple[Kind, str]] = {True: ("no-area", "has no area"), False: ("not-a-number", "is not finite")}
    found = []
    for place in np.flatnonzero(~good).tolist():
        kind, what = kinds[bool(finite[place])]
        detail = f"box {tuple(sample.boxes[place].tolist())} {what}"
        found.append(Finding("error", kind, sample.id, place + 1, sample.names[place], detail))
    findings[sample.id] = found
    return sample.keep(good)
