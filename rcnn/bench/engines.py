"""The same detectors as exported files: ONNX Runtime and OpenVINO, in fp32 and in 8 bits, beside torchvision's."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from rcnn.agreement import matched
from rcnn.bench.harness import Case, Way
from rcnn.bench.pictures import photo
from rcnn.bench.predict import MOBILE, RESNET, Work, detector_of, found, shipped, torchvisions
from rcnn.export.canvases import Arrays, arrays_of, in_bytes
from rcnn.export.contract import Run
from rcnn.export.engines import as_tensors, run_onnx, run_openvino
from rcnn.export.graph import Graph
from rcnn.export.int8_onnx import OnnxInt8
from rcnn.export.int8_openvino import OpenVINOInt8
from rcnn.export.metadata import put_onnx_metadata
from rcnn.export.onnx import to_onnx, with_outputs
from rcnn.export.openvino import to_openvino
from rcnn.export.program import DynamicShapes, export_program
from rcnn.inference.predictor import Detector
from rcnn.structures import Detections

Picture = UInt8[np.ndarray, "H W 3"]
WORKS: Sequence[tuple[Work, float]] = ((Work(MOBILE, (320, 480)), 4.0), (Work(RESNET, (800, 1216)), 6.0))
"""What is raced, and how many times as fast as torchvision OpenVINO shall be in 8 bits."""
CALIBRATION = 8
LEAST = {"fp32": 0.9, "int8": 0.5}
"""The share of torchvision's detections that an engine must find, within 8 pixels and a score of 0.03 (fp32; bytes are
rounded) or 0.15. The weights are random: what 8 bits cost a trained detector, `rcnn export --eval` says."""
SCORE = {"fp32": 0.03, "int8": 0.15}


@dataclass(frozen=True)
class File:
    """An exported detector in an engine, from a decoded picture on."""

    name: str
    precision: str
    seen: Detector
    run: Run

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
        Way("torchvision", lambda: torchvisions(theirs, [picture], cpu)),
        Way("rcnn", lambda: found(detector, [picture])),
        *(Way(file.name, _finding(file, picture), wanted if file.name == "OpenVINO, int8" else None) for file in files),
    ]

    def check() -> str:
        (expected,) = torchvisions(theirs, [picture], cpu)
        return "; ".join(f"{file.name}: {_share(file, picture, expected):.0%} the same" for file in files)

    return Case(f"engines, {work}", ways, check, {"detections": len(found(detector, [picture])[0])})


def exported(detector: Detector, pictures: Sequence[Picture]) -> list[File]:
    """The files of a detector, in 8 bits calibrated on the pictures."""
    seen = detector.looking_at(in_bytes(detector.preprocess))
    feeds = [arrays_of(seen.batch_of(picture), normalised=False) for picture in pictures]
    model = _onnx(detector, feeds[0])
    made: Mapping[tuple[str, str], Run] = {
        ("ONNX Runtime", "fp32"): run_onnx(model),
        ("ONNX Runtime", "int8"): run_onnx(OnnxInt8(model, feeds).quantised()),
        ("OpenVINO", "fp32"): run_openvino(to_openvino(model)),
        ("OpenVINO", "int8"): run_openvino(OpenVINOInt8(model, feeds).quantised()),
    }
    return [File(f"{engine}, {precision}", precision, seen, run) for (engine, precision), run in made.items()]


def _onnx(detector: Detector, feed: Arrays) -> Any:
    graph = Graph(detector.model, detector.preprocess).eval()  # type: ignore[arg-type]
    two = {name: np.concatenate((array, array)) for name, array in feed.items()}
    model = with_outputs(to_onnx(export_program(graph, as_tensors(two), DynamicShapes())))
    put_onnx_metadata(model, {"precision": "fp32"})
    return model


def _finding(file: File, picture: Picture) -> Callable[[], Detections]:
    return lambda: file.find(picture)


def _share(file: File, picture: Picture, expected: Detections) -> float:
    return matched(file.find(picture), expected, LEAST[file.precision], 8, SCORE[file.precision])
