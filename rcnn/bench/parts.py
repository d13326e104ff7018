"""The parts of the benchmark: what `rcnn bench` can measure, by name."""

from collections.abc import Mapping

PARTS: Mapping[str, str] = {
    "ops": "Suppression, matching, 3 x 3 convolutions, pooling of regions; forward and backward.",
    "load": "From files to a batch: decoding, resizing, normalising, padding.",
    "predict": "Torchvision's detectors with the same weights, from decoded pictures on.",
    "engines": "The same detectors as exported files: ONNX Runtime and OpenVINO, in fp32 and in 8 bits.",
    "train": "Training steps of torchvision's detectors with the same weights, pictures and mini-batches.",
    "wait": "A training step of every preset beside what prepares its pictures.",
    "family": "R-CNN, SPPnet and Fast R-CNN on VGG16, beside the rate of its convolutions.",
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
