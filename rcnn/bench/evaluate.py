"""COCO's evaluation against pycocotools, on made-up detections of as many pictures and classes as COCO has."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from rcnn.bench.harness import Case, Way
from rcnn.evaluation import evaluate
from rcnn.sample import Sample
from rcnn.structures import Detections

SIZE = (480, 640)
METRICS = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"),
)
"""In the order of pycocotools' `stats`."""


def cases(device: torch.device) -> Iterator[Case]:
    """A small test set, and a tenth of COCO's."""
    for pictures, classes in ((100, 3), (500, 80)):
        yield evaluate_case(*made_up(pictures, classes))


def made_up(pictures: int, classes: int, seed: int = 0) -> tuple[list[Sample], list[Detections], tuple[str, ...]]:
    """Seven objects a picture, and a hundred detections: each object a little off, the rest anywhere."""
    rng, names = np.random.default_rng(seed), tuple(f"class {n}" for n in range(classes))
    samples, found = [], []
    for number in range(pictures):
        boxes = _boxes(rng, 7)
        labels = rng.integers(classes, size=7)
        samples.append(Sample(str(number), np.zeros((1, 1, 3), np.uint8), boxes, tuple(names[n] for n in labels)))
        off = (boxes[rng.integers(7, size=30)] + rng.normal(0, 6, (30, 4))).astype(np.float32)
        off[:, 2:] = np.maximum(off[:, 2:], off[:, :2] + 1)
        every = np.concatenate((off, _boxes(rng, 70)))
        guesses = torch.from_numpy(rng.integers(classes, size=100) + 1)
        guesses[:7] = torch.from_numpy(labels + 1)
        scores = torch.from_numpy(rng.random(100, np.float32)).sort(descending=True).values
        found.append(Detections(torch.from_numpy(every), scores, guesses, names))
    return samples, found, names


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corners = rng.uniform(0, (SIZE[1] - 40, SIZE[0] - 40), (count, 2))
    sides = np.exp(rng.uniform(np.log(12), np.log(300), (count, 2)))
    return np.concatenate((corners, np.minimum(corners + sides, SIZE[::-1])), axis=1).astype(np.float32)


def evaluate_case(samples: Sequence[Sample], found: Sequence[Detections], names: tuple[str, ...]) -> Case:
    """Both begin with samples and detections in memory, and end with the twelve numbers."""

    def theirs() -> list[float]:
        return pycocotools_stats(samples, found, names)

    def ours() -> dict[str, float]:
        return evaluate(samples, found, names, "coco").metrics

    def check() -> str:
        own, expected = ours(), theirs()
        differing = [n for n, value in zip(METRICS, expected, strict=True) if not abs(own[n] - value) <= 1e-12]
        if differing:
            raise AssertionError(f"{', '.join(differing)} differ from pycocotools")
        return f"the same twelve numbers, AP {own['AP']:.3f}"

    ways = (Way("pycocotools", theirs), Way("rcnn", ours, wanted=3))
    return Case(f"evaluate, {len(samples)} pictures, {len(names)} classes", ways, check, {"detections": 100})


def pycocotools_stats(samples: Sequence[Sample], found: Sequence[Detections], names: tuple[str, ...]) -> list[float]:
    """As everybody writes it: dictionaries for truth and detections, then COCOeval."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    numbers = {name: number for number, name in enumerate(names, start=1)}
    truth: dict[str, list[dict[str, Any]]] = {
        "images": [{"id": number} for number in range(len(samples))],
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        "annotations": [
            {"image_id": n, "category_id": numbers[name], "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for n, sample in enumerate(samples)
            for name, box in zip(sample.names, _xywh(sample.boxes), strict=True)
        ],
    }
    truth["annotations"] = [row | {"id": place} for place, row in enumerate(truth["annotations"], start=1)]
    rows = [
        {"image_id": n, "category_id": label, "bbox": box, "score": score}
        for n, one in enumerate(found)
        for label, box, score in zip(one.labels.tolist(), _xywh(one.boxes.numpy()), one.scores.tolist(), strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(rows), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [float(value) for value in evaluator.stats]


def _xywh(boxes: np.ndarray) -> list[list[float]]:
    wide = boxes.astype(np.float64)
    return np.concatenate([wide[:, :2], wide[:, 2:] - wide[:, :2]], axis=1).tolist()
