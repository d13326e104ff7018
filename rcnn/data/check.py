"""Whether the pictures of a data set can all be read, and are of the size that their boxes were drawn on."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from rcnn.data.defects import Finding, Kind, OpenedData, Size, picture_name
from rcnn.data.picture import MAX_PIXELS, resolve, verify_picture
from rcnn.errors import DataError
from rcnn.sample import DataSet, Sample


def check_pictures(
    samples: Iterable[Sample],
    max_pixels: int = MAX_PIXELS,
    sizes: Mapping[str, Size] | None = None,
    channels: int = 3,
) -> list[Finding]:
    """Decodes every picture to its end, in threads, and reports what is missing, broken or of another size.

    `sizes` are the heights and widths that the annotations tell, by sample id (`OpenedData.sizes`): another size is a
    warning. Boxes that reach over the true picture's edge by more than a pixel are an error of the whole picture, for
    they were drawn on another one. Samples of the same id are looked at once.
    """
    known = sizes or {}
    unique = {sample.id: sample for sample in samples}.values()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            found = pool.map(lambda sample: _check(sample, max_pixels, known.get(sample.id), channels), unique)
            return [finding for findings in found for finding in findings]
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C need not wait for the pictures that are left


def sound_samples(dataset: DataSet) -> OpenedData:
    """A user's own samples without their defective objects, which are reported as those of files are.

    Raises DataError where two samples of a split share an id, which keys their randomness, and for proposals that are
    not finite.
    """
    findings: dict[str, list[Finding]] = {}
    splits = {}
    for name, samples in dataset.splits.items():
        twice = [sample_id for sample_id, count in Counter(s.id for s in samples).items() if count > 1]
        if twice:
            raise DataError(f"split '{name}': two samples have the id {twice[0]!r}; give each its own")
        splits[name] = [_sound(sample, findings) for sample in samples]
    return OpenedData(replace(dataset, splits=splits), [found for part in findings.values() for found in part])


def _sound(sample: Sample, findings: dict[str, list[Finding]]) -> Sample:
    if sample.proposals is not None and not np.isfinite(sample.proposals).all():
        raise DataError(f"sample {sample.id}: one of its proposals is not finite; leave it out")
    finite = np.isfinite(sample.boxes).all(axis=1)
    with np.errstate(invalid="ignore"):
        good = finite & ((sample.boxes[:, 2:] - sample.boxes[:, :2]) > 0).all(axis=1)
    if good.all():
        return sample
    kinds: dict[bool, tuple[Kind, str]] = {True: ("no-area", "has no area"), False: ("not-a-number", "is not finite")}
    found = []
    for place in np.flatnonzero(~good).tolist():
        kind, what = kinds[bool(finite[place])]
        detail = f"box {tuple(sample.boxes[place].tolist())} {what}"
        found.append(Finding("error", kind, sample.id, place + 1, sample.names[place], detail))
    findings[sample.id] = found
    names = tuple(name for name, keep in zip(sample.names, good, strict=True) if keep)
    rows = {name: getattr(sample, name)[good] for name in ("boxes", "difficult", "crowd", "weight", "area")}
    return replace(sample, names=names, **rows)


def _check(sample: Sample, max_pixels: int, annotated: Size | None, channels: int) -> list[Finding]:
    name = picture_name(sample)
    try:
        size = _size(sample, max_pixels, channels)
    except DataError as error:
        missing = isinstance(sample.picture, Path) and not sample.picture.is_file()
        detail = str(error).removeprefix(f"{name}: ")
        return [Finding("error", "missing-picture" if missing else "unreadable-picture", name, None, None, detail)]
    shown = f"the picture as shown is {_show(size)}"
    findings = []
    if annotated not in (None, size):
        detail = f"the annotation says {_show(annotated)}, {shown}"
        findings.append(Finding("warning", "size", name, None, None, detail))
    outside = int((sample.boxes[:, 2:] > (size[1] + 1, size[0] + 1)).any(axis=1).sum())
    if outside:
        detail = f"{outside} of {len(sample.boxes)} boxes reach outside, {shown}; were they drawn on another size?"
        findings.append(Finding("error", "outside", name, None, None, detail))
    return findings


def _size(sample: Sample, max_pixels: int, channels: int) -> Size:
    if isinstance(sample.picture, Path):
        return verify_picture(sample.picture, max_pixels, channels)
    height, width, _ = resolve(sample.picture, max_pixels, channels).shape
    return height, width


def _show(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
