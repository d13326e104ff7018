"""Prediction against torchvision's detectors: the same weights, from a decoded picture to its detections."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torchvision.models import detection as tv

from rcnn import build
from rcnn.bench.agreement import matched
from rcnn.bench.calibrated import calibrated, frozen, tensor
from rcnn.bench.harness import Case, Way
from rcnn.bench.pictures import photo
from rcnn.compat.torchvision import CONFIGS, from_state
from rcnn.inference.predictor import Detector
from rcnn.structures import Detections
from rcnn.training.session import computes_bf16

CLASSES = 20
SAME = 0.98
"""Of the detections: of two boxes that tie, rounding decides which one suppresses the other."""
ALIKE = 0.9
"""The same in half precision, in which scores themselves are rounded."""
MODELS: Mapping[str, tuple[tuple[int, int], Mapping[str, float]]] = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": ((320, 480), {"bf16": 2.5}),
    "fasterrcnn_resnet50_fpn": ((800, 1216), {"fp32": 1.8, "bf16": 4}),
}
"""The picture's height and width, and how many times as fast each precision shall be."""


def cases(device: torch.device) -> Iterator[Case]:
    """One picture at a time."""
    for name, (size, wanted) in MODELS.items():
        yield predict_case(name, photo(*size, seed=1), wanted, device)


def predict_case(
    name: str, picture: UInt8[np.ndarray, "H W 3"], wanted: Mapping[str, float], device: torch.device
) -> Case:
    """Torchvision's detector as it is shipped, and this library's with its weights."""
    theirs = shipped(name, picture).to(device)
    full = detector_of(name, theirs, device, bf16=False)
    ways = [Way("torchvision", lambda: torchvisions(theirs, picture, device))]
    ways.append(Way("rcnn", lambda: found(full, picture), wanted.get("fp32")))
    half = detector_of(name, theirs, device, bf16=True) if computes_bf16(device) else None
    if half is not None:
        ways.append(Way("rcnn, bf16", lambda: found(half, picture), wanted.get("bf16")))

    def check() -> str:
        expected, own = torchvisions(theirs, picture, device), found(full, picture)
        if len(expected) < 30 or len(set(expected.labels.tolist())) < 5:
            raise AssertionError(f"torchvision finds only {len(expected)} objects: too few to compare")
        shares = [matched(own, expected, SAME, pixels=0.01, score=1e-4)]
        if half is not None:
            shares.append(matched(found(half, picture), expected, ALIKE, pixels=8, score=0.03))
        return " and ".join(f"{share:.0%}" for share in shares) + " of the detections are the same"

    counts = {"detections": len(found(full, picture))}
    return Case(f"predict, {name}, {picture.shape[0]} x {picture.shape[1]}", ways, check, counts)


def shipped(name: str, picture: UInt8[np.ndarray, "H W 3"]) -> Any:
    """Torchvision's detector with frozen norms, as it is pretrained, and random weights that find things."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = getattr(tv, name)(weights=None, weights_backbone=None, num_classes=CLASSES + 1)
    epsilon = 0.0 if name == "fasterrcnn_resnet50_fpn" else 1e-5  # torchvision's, in its pretrained detectors
    return frozen(calibrated(plain, [picture]), epsilon)


def detector_of(name: str, theirs: Any, device: torch.device, bf16: bool) -> Detector:
    """This library's detector with the weights of torchvision's."""
    model, class_names = from_state(name, theirs.state_dict())
    return Detector(model, build.preprocess(CONFIGS[name].input), class_names, device, bf16)


def found(detector: Detector, picture: UInt8[np.ndarray, "H W 3"]) -> Detections:
    """What this library finds."""
    return next(detector.predict([picture]))


@torch.inference_mode()
def torchvisions(model: Any, picture: UInt8[np.ndarray, "H W 3"], device: torch.device) -> Detections:
    """What torchvision finds."""
    (result,) = model([tensor(picture).to(device)])
    boxes, scores, labels = (result[key].cpu() for key in ("boxes", "scores", "labels"))
    return Detections(boxes, scores, labels, ())
