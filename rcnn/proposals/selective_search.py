"""Selective search (Uijlings et al., IJCV 2013) with R-CNN's constants, on the parts that OpenCV has for it.

A picture is cut into small regions (Felzenszwalb's graph), which are merged two by two, the most alike first, until one
is left; the box of every region on the way is a proposal. It is done for several colour spaces, region sizes and ideas
of what is alike. The papers' ranks are random numbers times the height in the hierarchy, and so are OpenCV's.
"""

import ctypes
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from threading import Lock
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from rcnn.errors import ConfigError

RGB = UInt8[np.ndarray, "H W 3"]
Mode = Literal["fast", "quality"]

WIDTH = 500
"""Pixels that every picture is searched at, and at most three times as many high (R-CNN's code; it has no limit)."""
LEAST_SIDE = 20
"""Of a proposal, in pixels of the picture as it is searched."""
SIGMA = 0.8
SEGMENT_SIZES = {"fast": (50, 100), "quality": (50, 100, 150, 300)}
"""The constant k of the first segmentation, and at the same time the least pixels of a segment."""
ALIKE = {
    "fast": (("Color", "Texture", "Size", "Fill"), ("Texture", "Size", "Fill")),
    "quality": (("Color", "Texture", "Size", "Fill"), ("Texture", "Size", "Fill"), ("Fill",), ("Size",)),
}
"""What makes two regions alike: the mean of these measures."""

_WHEELS = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
_ONE_AT_A_TIME = Lock()  # the C library's random numbers belong to the whole process


def selective_search(
    picture: RGB, mode: Mode = "fast", maximum: int = 2000
) -> tuple[Float[np.ndarray, "P 4"], Float[np.ndarray, "P"]]:
    """The best `maximum` proposals of an RGB picture, in its own pixels, and a score for each: 1, 1/2, 1/3 ...

    The same picture gives the same list, whatever ran before; while another thread loads a detector, ranks may
    differ (docs/proposals.md). Raises ConfigError where OpenCV's contributed modules are missing.
    """
    boxes = every_region(picture, mode)[:maximum]
    return boxes, rank_scores(len(boxes))


def rank_scores(count: int) -> Float[np.ndarray, "P"]:
    """The score of each place in a list that is ranked and no more: 1 / place."""
    return (1 / np.arange(1, count + 1)).astype(np.float32)


def every_region(picture: RGB, mode: Mode) -> Float[np.ndarray, "P 4"]:
    """All proposals of an RGB picture, best first, in its own pixels, each once, those of under 20 pixels left out."""
    cv2 = opencv()
    height, width, _ = picture.shape
    searched = min(max(1, round(height * WIDTH / width)), 3 * WIDTH)
    resized = Image.fromarray(picture).resize((WIDTH, searched), Image.Resampling.BICUBIC)
    search = _search(cv2, np.ascontiguousarray(np.asarray(resized)[:, :, ::-1]), mode)
    seed = int.from_bytes(blake2b(picture.tobytes(), digest_size=4).digest(), "little")
    found = _processed(search, seed)
    found = found[(found[:, 2:] >= LEAST_SIDE).all(1)].astype(np.float64)
    corners = np.concatenate((found[:, :2], found[:, :2] + found[:, 2:]), axis=1)
    return (corners * (width, height, width, height) / (WIDTH, searched, WIDTH, searched)).astype(np.float32)


@contextmanager
def one_core() -> Iterator[None]:
    """While this context lasts, OpenCV uses one thread: what a worker does, and what times are told of."""
    cv2 = opencv()
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def opencv() -> Any:
    """OpenCV's module; raises ConfigError, with what to do, if it is missing or lacks the contributed modules."""
    try:
        import cv2
    except ImportError as error:
        raise ConfigError(f"selective search needs OpenCV ({error}); pip install 'rcnn[proposals]'") from error
    if not hasattr(getattr(cv2, "ximgproc", None), "segmentation"):
        wheels = " ".join(filter(_installed, _WHEELS)) or "whatever provides cv2"
        raise ConfigError(
            f"selective search needs OpenCV's contributed modules, and cv2 is here without them; "
            f"pip uninstall {wheels}, then pip install 'rcnn[proposals]'"
        )
    return cv2


def _installed(wheel: str) -> bool:
    try:
        return bool(version(wheel))
    except PackageNotFoundError:
        return False


def _search(cv2: Any, bgr: UInt8[np.ndarray, "h w 3"], mode: Mode) -> Any:
    """OpenCV's selective search, told which pictures, first segmentations and measures to combine."""
    parts = cv2.ximgproc.segmentation
    search = parts.createSelectiveSearchSegmentation()
    for image in _colour_spaces(cv2, bgr, mode):
        search.addImage(image)
    for size in SEGMENT_SIZES[mode]:
        search.addGraphSegmentation(parts.createGraphSegmentation(SIGMA, size, size))
    # One of each: what a measure has computed for a segmentation serves all combinations that it is part of.
    measures = {name: getattr(parts, f"createSelectiveSearchSegmentationStrategy{name}")() for name in ALIKE["fast"][0]}
    for names in ALIKE[mode]:
        mean = parts.createSelectiveSearchSegmentationStrategyMultiple()
        for name in names:
            mean.addStrategy(measures[name], 1 / len(names))
        search.addStrategy(mean)
    return search


def _colour_spaces(cv2: Any, bgr: UInt8[np.ndarray, "h w 3"], mode: Mode) -> Iterator[np.ndarray]:
    """HSV and Lab; for quality also two normalised colours with intensity, hue, and intensity."""
    hsv, gray = cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV), cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    yield from (hsv, cv2.cvtColor(bgr, cv2.COLOR_BGR2Lab))
    if mode == "quality":
        total = np.maximum(bgr.sum(axis=2, dtype=np.int64, keepdims=True), 1)
        red_green = (bgr[:, :, [2, 1]] * np.int64(255) // total).astype(np.uint8)
        yield from (np.dstack((red_green, gray)), np.ascontiguousarray(hsv[:, :, 0]), gray)


def _processed(search: Any, seed: int) -> Int[np.ndarray, "N 4"]:
    """Every box as x, y, width, height, best first: large regions tend to stand before small ones, as in the papers.

    OpenCV ranks with the C library's `rand()`, so the seed is set before. Windows keeps a state for each thread, and
    a wheel may carry a C library of its own that no seed reaches; but there every new thread begins from the same
    state. In a new thread the ranks are therefore the same on all systems, whatever ran before.
    """
    library = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)

    def run() -> np.ndarray:
        library.srand(ctypes.c_uint(seed))
        return search.process()

    with _ONE_AT_A_TIME, ThreadPoolExecutor(1) as thread:
        found = np.asarray(thread.submit(run).result()).reshape(-1, 4)
    return found[::-1]  # OpenCV multiplies with the height from below, the papers with that from above
