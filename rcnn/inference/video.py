"""Films and cameras: frames in, detections out, drawn or as lines of JSON."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from rcnn.choices import CAMERA
from rcnn.data.raw import Size
from rcnn.errors import ConfigError, DataError
from rcnn.structures import Detections

RATE = 25.0
"""Frames a second of a source that tells none, as cameras may."""


@dataclass(frozen=True)
class Frame:
    """A picture of a film; counted from 1, with its time from the beginning in seconds."""

    number: int
    seconds: float
    rgb: UInt8[np.ndarray, "H W 3"]


@dataclass(frozen=True)
class Film:
    """An opened film or camera. `size` is height and width in pixels, `rate` frames a second."""

    name: str
    rate: float
    size: Size
    capture: Any

    def frames(self) -> Iterator[Frame]:
        """The frames in turn, to the end; those of a camera go on."""
        number = 0
        while True:
            read, bgr = self.capture.read()
            if not read:
                return
            number += 1
            yield Frame(number, (number - 1) / self.rate, np.ascontiguousarray(bgr[:, :, ::-1]))


@contextmanager
def opened(name: str) -> Iterator[Film]:
    """A film by its file's name, a stream by its address, or `camera:NUMBER`; raises DataError if none can be read."""
    cv2 = _opencv()
    source: str | int = name
    if name.startswith(CAMERA):
        if not name.removeprefix(CAMERA).isdigit():
            raise ConfigError(f"{name}: no camera's name; give camera:0 for the first one")
        source = int(name.removeprefix(CAMERA))
    elif "://" not in name and not Path(name).is_file():
        raise DataError(f"{name}: no such film; mend the path")
    capture = cv2.VideoCapture(source)
    try:
        size = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        if not capture.isOpened() or not min(size):
            raise DataError(f"{name}: holds no film that can be decoded; convert it to MP4, or give another")
        rate = capture.get(cv2.CAP_PROP_FPS)
        yield Film(name, rate if 0 < rate < 1000 else RATE, size, capture)
    finally:
        capture.release()


@contextmanager
def drawn_film(file: Path, rate: float, size: Size) -> Iterator[Any]:
    """What writes drawn frames, RGB arrays of that height and width, to an MP4 file, which stands there once complete.

    Call its `write`. A film that is broken off leaves what was written so far.
    """
    cv2 = _opencv()
    temporary = file.with_name(f".{file.name}.part.mp4")
    writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter_fourcc(*"mp4v"), rate, size[::-1])
    if not writer.isOpened():
        raise ConfigError(f"{file}: cannot be written as MP4; give --out another folder")
    try:
        yield _Writer(writer)
    finally:
        writer.release()
        if temporary.exists():
            temporary.replace(file)


@dataclass(frozen=True)
class _Writer:
    writer: Any

    def write(self, rgb: UInt8[np.ndarray, "H W 3"]) -> None:
        """One more frame."""
        self.writer.write(np.ascontiguousarray(rgb[:, :, ::-1]))


def json_line(frame: Frame, found: Detections) -> str:
    """A frame's detections: `{"frame", "seconds", "detections": [{"class", "score", "box": [x1, y1, x2, y2]}]}`."""
    detections = [
        {"class": name, "score": round(score, 5), "box": [round(value, 2) for value in box]}
        for name, score, box in zip(found.names, found.scores.tolist(), found.boxes.tolist(), strict=True)
    ]
    return json.dumps({"frame": frame.number, "seconds": round(frame.seconds, 4), "detections": detections})


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ConfigError(f"films need OpenCV ({error}); pip install 'rcnn[video]'") from error
    return cv2
