"""Whether detectron2's models find here what they find there: needs detectron2, and the same weights for both.

usage: python benchmarks/detectron2_equality.py [--store tests/detectron2_detections.json]

Weights are random, but such that they find things. `--store` writes down what detectron2 finds, which the tests hold
this library's detections against where detectron2 is not installed.
"""

import argparse
import json
from pathlib import Path

import torch

from rcnn.bench.detectron2 import RANDOM, detector_of, detectron2s, refuse_missing, shipped
from rcnn.bench.pictures import photo
from rcnn.bench.predict import SAME, found, share_of
from rcnn.structures import Detections

PHOTOS = ((120, 173), (151, 97))
"""Height and width of the pictures; their numbers seed them."""
SIDES = (160, 267)
CLASSES = 20
CPU = torch.device("cpu")


def main() -> None:
    """All models; ends with an error where a detection differs."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--store", type=Path)
    store = arguments.parse_args().store
    refuse_missing()
    pictures = [photo(*size, seed=seed) for seed, size in enumerate(PHOTOS)]
    stored = {}
    for name, random in RANDOM.items():
        state = random(CLASSES, pictures[0], SIDES)
        expected = detectron2s(shipped(name, state, CPU, SIDES), pictures)
        detector = detector_of(name, state, CPU, sides=SIDES)
        own = [one for picture in pictures for one in found(detector, [picture])]
        print(f"{name}: {share_of(own, expected, SAME, pixels=0.01, score=1e-4):.0%} of the detections are the same")
        stored[name] = [rows(one) for one in expected]
    if store:
        store.write_text(json.dumps(stored) + "\n", "utf-8")


def rows(found: Detections) -> list[list[float]]:
    """Box, score and label of each detection."""
    columns = torch.cat((found.boxes, found.scores[:, None], found.labels[:, None].float()), dim=1)
    return [[round(value, 4) for value in row] for row in columns.tolist()]


if __name__ == "__main__":
    main()
