"""The parts of the benchmark: what `rcnn bench` can measure, by name."""

from collections.abc import Mapping

PARTS: Mapping[str, str] = {
    "ops": "Suppression, matching, 3 x 3 convolutions, pooling of regions; forward and backward.",
    "load": "From files to a batch: decoding, resizing, normalising, padding.",
    "predict": "Torchvision's detectors with the same weights, from decoded pictures on.",
    "engines": "The same detectors as exported files: ONNX Runtime and OpenVINO, in fp32 and in 8 bits.",
    "family": "R-CNN, SPPnet and Fast R-CNN on VGG16, beside the rate of its convolutions.",
    "evaluate": "COCO's evaluation.",
    "start": "Imports, and the command line's help.",
    "scale": "How time, and memory with --memory, grow with area, proposals, batch, classes, objects and pictures.",
    "train": "Training steps of torchvision's detectors with the same weights, pictures and mini-batches.",
    "wait": "A training step of every preset beside what prepares its pictures.",
}
"""Name to what it measures, in the order in which they are measured; `rcnn.bench.NAME` has the function `cases`.

Those that have the process keep freed memory, as training does, are the last: they change what comes after.
"""
NEEDED: Mapping[str, tuple[str, ...]] = {
    "engines": ("onnx", "onnxscript", "onnxruntime", "openvino", "nncf"),
    "evaluate": ("pycocotools",),
    "scale": ("pycocotools",),
}
"""By part, the packages that it measures against or makes files with, beside those that the library itself needs."""
OTHERS: Mapping[str, Mapping[str, str]] = {
    "torchvision": {part: f"rcnn.bench.{part}" for part in PARTS},
    "detectron2": {"predict": "rcnn.bench.detectron2"},
}
"""By the library that is measured against: its parts, and the module that has their cases."""
