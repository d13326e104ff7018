"""The parts of the benchmark: what `rcnn bench` can measure."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module

import torch

from rcnn.bench.harness import Case, Closing

Cases = Callable[[torch.device], Iterator[Case]]
PARTS: Mapping[str, str] = {
    "ops": "Suppression, matching, RoIAlign, RoI pooling, spatial pyramid pooling; forward and backward.",
    "load": "From files to a batch: decoding, resizing, normalising, padding.",
    "predict": "Torchvision's detectors with the same weights, from decoded pictures on.",
    "train": "Training steps of torchvision's detectors with the same weights, pictures and mini-batches.",
    "wait": "A training step of every preset beside what prepares its pictures.",
    "evaluate": "COCO's evaluation.",
    "start": "Imports, and the command line's help.",
    "scale": "How time, and memory with --memory, grow with area, proposals, batch, classes, objects and pictures.",
}
"""Name to what it measures; `rcnn.bench.NAME` has the function `cases`."""


OTHERS: Mapping[str, Mapping[str, str]] = {
    "torchvision": {part: f"rcnn.bench.{part}" for part in PARTS},
    "detectron2": {"predict": "rcnn.bench.detectron2"},
}
"""By the library that is measured against: its parts, and the module that has their cases."""


def cases_of(part: str, against: str = "torchvision") -> Cases:
    """What makes the cases of a part, each when the one before has been timed."""
    return import_module(OTHERS[against][part]).cases


def closing_of(part: str) -> Closing | None:
    """What the cases of a part say together, of one that has something to say."""
    return getattr(import_module(f"rcnn.bench.{part}"), "CLOSING", None)
