"""Four pictures in one (YOLOv4, arXiv 2004.10934, section 3.3), which torchvision's transforms do not make."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rcnn.data.augment import Pixel, View, clipped, moved, resized, scaled
from rcnn.data.raw import Size
from rcnn.sample import Pixels, Sample

SMALLEST, LARGEST = 0.5, 1.0
"""Each picture's size, times that which it has alone."""


def mosaic(
    views: Sequence[View], usual: Sequence[Size], size: Size, rng: np.random.Generator, gray: Pixel, keep: float
) -> View:
    """A picture of `size` with a view in each quarter around a point in its middle half.

    `usual` is the size that each view has alone. Each meets the point with a corner; what exceeds its quarter is cut
    off, and what it does not fill is gray.
    """
    y, x = (int(side * rng.uniform(0.25, 0.75)) for side in size)
    ground = np.broadcast_to(gray, (*size, len(gray))).copy()
    parts = []
    for place, (view, alone) in enumerate(zip(views, usual, strict=True)):
        small = resized(view, scaled(alone, rng.uniform(SMALLEST, LARGEST)))
        parts.append(_put(ground, small, (y, x), below=place >= 2, right=place % 2 == 1, keep=keep))
    return ground, joined(views[0][1], parts)


def _put(ground: Pixels, view: View, corner: tuple[int, int], below: bool, right: bool, keep: float) -> Sample:
    """Write a view into one quarter of the ground, which meets the others at `corner`; the sample of what is seen."""
    picture, sample = view
    rows = _span(corner[0], ground.shape[0], picture.shape[0], below)
    columns = _span(corner[1], ground.shape[1], picture.shape[1], right)
    (top, bottom, up), (left, end, across) = rows, columns
    ground[top:bottom, left:end] = picture[up : up + bottom - top, across : across + end - left]
    inside = clipped(moved(sample, (-across, -up)), (bottom - top, end - left), keep)
    return moved(inside, (left, top))


def _span(corner: int, side: int, length: int, after: bool) -> tuple[int, int, int]:
    """Along one axis: where a picture of `length` begins and ends on the ground, and how much of its beginning is cut.

    One that lies before the corner is cut at its beginning, one that lies `after` it at its end.
    """
    if after:
        return corner, min(side, corner + length), 0
    start = max(0, corner - length)
    return start, corner, length - (corner - start)


def joined(first: Sample, parts: Sequence[Sample]) -> Sample:
    """One sample of all objects; regions come in turn from each, so that the best of each come first."""
    return replace(first.with_objects(parts), proposals=_in_turn([part.proposals for part in parts]))


def _in_turn(lists: Sequence[np.ndarray | None]) -> np.ndarray | None:
    known = [rows for rows in lists if rows is not None]
    if len(known) < len(lists):
        return None
    ranks = np.concatenate([np.arange(len(rows)) for rows in known])
    return np.concatenate(known)[np.argsort(ranks, kind="stable")]
