"""Whether the pictures of a data set can all be read, and are of the size that their boxes were drawn on."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from rcnn.data.checking.near import fingerprint
from rcnn.data.defects import Finding, OpenedData, Size, picture_name
from rcnn.data.picture import MAX_PIXELS, PictureError, Verified, glanced, resolve, verify_picture
from rcnn.data.splits import every_sample
from rcnn.errors import DataError
from rcnn.sample import Sample


@dataclass(frozen=True)
class Look:
    """What one picture turned out to be; without size and digest where it cannot be read."""

    findings: list[Finding]
    size: Size | None = None
    """Height and width as shown."""
    digest: bytes = b""
    """Of the file, or of an array: the same for the same content alone."""
    fingerprint: Bool[np.ndarray, "256"] | None = None
    """Much the same for pictures that look the same; None where there is nothing to see, or it was not asked for."""
    upright: bool = True
    """Whether the picture is stored as it is shown."""


def look_at_pictures(
    samples: Iterable[Sample],
    max_pixels: int = MAX_PIXELS,
    sizes: Mapping[str, Size] | None = None,
    fingerprints: bool = False,
    channels: int | None = 3,
    on_picture: Callable[[], object] = lambda: None,
) -> dict[str, Look]:
    """Decodes every picture to its end, once, in threads; what was seen, by sample id.

    `sizes` are the heights and widths that the annotations tell, by sample id (`OpenedData.sizes`): another size is a
    warning. Boxes that reach over the true picture's edge by more than a pixel are an error of the whole picture, for
    they were drawn on another one. `channels` is how many a picture should have, None: any number. `on_picture` is
    called after each.
    """
    known = sizes or {}
    unique = {sample.id: sample for sample in samples}

    def look(sample: Sample) -> Look:
        return _look(sample, max_pixels, known.get(sample.id), fingerprints, channels)

    looks = {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            for sample_id, seen in zip(unique, pool.map(look, unique.values()), strict=True):
                looks[sample_id] = seen
                on_picture()
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C need not wait for the pictures that are left
    return looks


def look_at(
    opened: OpenedData,
    max_pixels: int,
    fingerprints: bool = False,
    channels: int | None = 3,
    on_picture: Callable[[], object] = lambda: None,
) -> dict[str, Look]:
    """The same for all of a data set."""
    samples = every_sample(opened.dataset)
    return look_at_pictures(samples, max_pixels, opened.sizes, fingerprints, channels, on_picture)


def check_pictures(
    samples: Iterable[Sample],
    max_pixels: int = MAX_PIXELS,
    sizes: Mapping[str, Size] | None = None,
    channels: int | None = 3,
) -> list[Finding]:
    """What is missing, broken or of another size than annotated: the findings of `look_at_pictures` alone."""
    looks = look_at_pictures(samples, max_pixels, sizes, channels=channels)
    return [finding for look in looks.values() for finding in look.findings]


def _look(sample: Sample, max_pixels: int, annotated: Size | None, fingerprints: bool, channels: int | None) -> Look:
    name = picture_name(sample)
    try:
        seen, digest = _seen(sample, max_pixels, channels)
    except DataError as error:
        kind = error.kind if isinstance(error, PictureError) else "unreadable-picture"
        detail = str(error).removeprefix(f"{name}: ")
        return Look([Finding("error", kind, name, None, None, detail, sample.id)])
    found = _misfit(sample, seen, annotated)
    mark = fingerprint(seen.glance) if fingerprints else None
    return Look([found] if found else [], seen.shown, digest, mark, seen.upright)


def _seen(sample: Sample, max_pixels: int, channels: int | None) -> tuple[Verified, bytes]:
    """The picture, and the hash of its content."""
    if isinstance(sample.picture, Path):
        seen = verify_picture(sample.picture, max_pixels, channels)
        with sample.picture.open("rb") as stream:
            return seen, hashlib.file_digest(stream, "sha256").digest()
    array = resolve(sample.picture, max_pixels, channels)
    return glanced(array), hashlib.sha256(array.tobytes()).digest()


def _misfit(sample: Sample, seen: Verified, annotated: Size | None) -> Finding | None:
    """Boxes or an annotated size that are not those of the picture as it is shown."""
    name, shown = picture_name(sample), f"the picture as shown is {_show(seen.shown)}"
    turned = f"EXIF turns the picture from {_show(seen.stored)} to {_show(seen.shown)}"
    outside = _outside(sample, seen.shown)
    if outside and seen.stored != seen.shown and not _outside(sample, seen.stored):
        detail = f"{turned}, and {outside} of {len(sample.boxes)} boxes only fit it as stored; {_STRIP}"
        return Finding("error", "exif-rotation", name, None, None, detail, sample.id)
    if outside:
        detail = f"{outside} of {len(sample.boxes)} boxes reach outside, {shown}; were they drawn on another size?"
        return Finding("error", "outside", name, None, None, detail, sample.id)
    if annotated in (None, seen.shown):
        return None
    if annotated == seen.stored:
        detail = f"{turned}, but the annotation tells the stored size; if boxes were drawn on that, {_STRIP}"
        return Finding("warning", "exif-rotation", name, None, None, detail, sample.id)
    detail = f"the annotation says {_show(annotated)}, {shown}"
    return Finding("warning", "size", name, None, None, detail, sample.id)


_STRIP = "take the orientation out of its EXIF data, as --fix does where boxes only fit so"


def _outside(sample: Sample, size: Size) -> int:
    """How many boxes reach over the edge by more than a pixel."""
    return int((sample.boxes[:, 2:] > (size[1] + 1, size[0] + 1)).any(axis=1).sum())


def _show(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
