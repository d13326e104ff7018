"""The same detectors as exported files: ONNX Runtime and OpenVINO, in fp32 and in 8 bits, beside torchvision's."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rcnn.agreement import matched
from rcnn.bench.harness import Case, Way
from rcnn.bench.pages import with_small_pages
from rcnn.bench.pictures import Picture, photo
from rcnn.bench.predict import MOBILE, RESNET, Work, detector_of, found, shipped, torchvisions
from rcnn.export.canvases import Arrays, arrays_of, in_bytes
from rcnn.export.contract import Run
from rcnn.export.engines import as_tensors
from rcnn.export.formats import ENGINE_FORMATS
from rcnn.export.graph import Graph
from rcnn.export.metadata import Precision, put_onnx_metadata
from rcnn.export.onnx import to_onnx
from rcnn.export.program import DynamicShapes, export_program
from rcnn.inference.predictor import Detector
from rcnn.structures import Detections

WORKS: Sequence[tuple[Work, float]] = ((Work(MOBILE, (320, 480)), 4.0), (Work(RESNET, (800, 1216)), 6.0))
"""What is raced, and how many times as fast as torchvision OpenVINO shall be in 8 bits."""
CALIBRATION = 8
SAME, PIXELS, SCORE = 0.9, 8.0, 0.03
"""The share of torchvision's detections that an engine must find in fp32, and how near; bytes are rounded."""
LEAST, KINDS = 30, 5
"""Objects, and their classes, that 8 bits must find. Which ones is not asked: rounding grows from layer to layer of a
network with random weights until nothing is left. A trained one keeps its accuracy: `benchmarks/engines.py`."""


@dataclass(frozen=True)
class File:
    """An exported detector in an engine, from a decoded picture on."""

    engine: str
    precision: Precision
    seen: Detector
    run: Run

    def __str__(self) -> str:
        return f"{self.engine}, {self.precision}"

    def find(self, picture: Picture) -> Detections:
        """What it finds in a picture."""
        outputs = self.run(arrays_of(self.seen.batch_of(picture), normalised=False))
        count = int(outputs["count"][0])
        boxes, scores, labels = (torch.from_numpy(outputs[key][0, :count]) for key in ("boxes", "scores", "labels"))
        return Detections(boxes, scores, labels, self.seen.class_names)


def cases(device: torch.device) -> Iterator[Case]:
    """Exported files compute on processors, whatever the device."""
    for work, wanted in WORKS:
        yield engines_case(work, wanted)


def engines_case(work: Work, wanted: float) -> Case:
    """Torchvision's detector as it is shipped, this library's with its weights, and that one's exported files."""
    cpu, picture = torch.device("cpu"), photo(*work.size, seed=1)
    theirs = shipped(work, picture)
    detector = detector_of(work, theirs, cpu, bf16=False)
    files = exported(detector, [photo(*work.size, seed=seed) for seed in range(1, 1 + CALIBRATION)])
    ways = [
        Way("torchvision", with_small_pages(lambda: torchvisions(theirs, [picture], cpu))),
        Way("rcnn", lambda: found(detector, [picture])),
        *(Way(str(file), _finding(file, picture), _wanted(file, wanted)) for file in files),
    ]

    def check() -> str:
        (expected,) = torchvisions(theirs, [picture], cpu)
        return "; ".join(f"{file}: {_agreement(file, picture, expected)}" for file in files)

    return Case(f"engines, {work}", ways, check, {"detections": len(found(detector, [picture])[0])})


def exported(detector: Detector, pictures: Sequence[Picture]) -> list[File]:
    """The files of a detector, in 8 bits calibrated on the pictures."""
    seen = detector.looking_at(in_bytes(detector.preprocess))
    feeds = [arrays_of(seen.batch_of(picture), normalised=False) for picture in pictures]
    onnx, files = _onnx(detector, feeds[0]), []
    for engine, name in (("onnx", "ONNX Runtime"), ("openvino", "OpenVINO")):
        form = ENGINE_FORMATS[engine]
        made: Mapping[Precision, Any] = {"fp32": form.convert(onnx), "int8": form.quantiser(onnx, feeds).quantised()}
        for precision, model in made.items():
            files.append(File(name, precision, seen, form.run(form.finished(model), precision)))
    return files


def _onnx(detector: Detector, feed: Arrays) -> Any:
    graph = Graph(detector.model, detector.preprocess).eval()  # type: ignore[arg-type]
    two = {name: np.concatenate((array, array)) for name, array in feed.items()}
    model = to_onnx(export_program(graph, as_tensors(two), DynamicShapes()))
    put_onnx_metadata(model, {"precision": "fp32"})
    return model


def _finding(file: File, picture: Picture) -> Callable[[], Detections]:
    return lambda: file.find(picture)


def _wanted(file: File, times: float) -> float | None:
    return times if (file.engine, file.precision) == ("OpenVINO", "int8") else None


def _agreement(file: File, picture: Picture, expected: Detections) -> str:
    """In fp32 how many of torchvision's detections it has, in 8 bits only that it detects; AssertionError for fewer."""
    own = file.find(picture)
    if file.precision == "fp32":
        return f"{matched(own, expected, SAME, PIXELS, SCORE):.0%} the same"
    kinds = len(own.labels.unique())
    if len(own) < LEAST or kinds < KINDS:
        raise AssertionError(f"{file}: finds {len(own)} objects of {kinds} classes, of which it should find many")
    return f"{len(own)} found"
