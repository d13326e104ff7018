"""Films and cameras in `rcnn predict`."""

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from rcnn.choices import CAMERA
from rcnn.errors import ConfigError
from rcnn.inference.draw import draw
from rcnn.inference.looks import find_each
from rcnn.inference.predictor import Detector
from rcnn.inference.video import Film, Frame, drawn_film, json_line, opened
from rcnn.inference.ways import Looks
from rcnn.report.words import counted
from rcnn.structures import Detections

Choose = Callable[[Detections], Detections]


def predict_film(
    name: str, out: Path, detector: Detector, looks: Looks, batch: int, score: float | None, choose: Choose
) -> None:
    """Draw a film into a folder, with a file of JSON lines beside it, and say how fast that went; Ctrl-C ends it."""
    stem = name.replace(":", "-") if name.startswith(CAMERA) else Path(name.rstrip("/")).stem
    file, lines = out / f"{stem}.mp4", out / f"{stem}.jsonl"
    if Path(name).resolve() == file.resolve():
        raise ConfigError(f"{file}: the film itself, which would be replaced; give --out another folder")
    began, count = time.perf_counter(), 0
    try:
        with (
            opened(name) as film,
            drawn_film(file, film.rate, film.size) as writer,
            lines.open("w", encoding="utf-8") as text,
        ):
            for frame, found in _frames(film, detector, looks, batch, score):
                chosen = choose(found)
                writer.write(np.asarray(draw(frame.rgb, chosen)))
                text.write(json_line(frame, chosen) + "\n")
                count += 1
    finally:
        if count:
            seconds = time.perf_counter() - began
            print(f"{name}: {counted(count, 'frame')} at {count / seconds:.1f} a second; drawn in {file}, {lines}")


def _frames(
    film: Film, detector: Detector, looks: Looks, batch: int, score: float | None
) -> Iterator[tuple[Frame, Detections]]:
    """The frames of a film with what is in them, `batch` at a time."""
    frames = film.frames()
    while chunk := list(islice(frames, batch)):
        for frame, found in zip(chunk, find_each(detector, [f.rgb for f in chunk], looks, batch, score), strict=True):
            assert isinstance(found, Detections)  # a frame is an array, which is there
            yield frame, found
