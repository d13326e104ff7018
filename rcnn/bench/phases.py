"""Where a detector's time goes: the parts of its forward pass, one after the other."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import UInt8

from rcnn.bench.harness import finish
from rcnn.data.picture import resolve
from rcnn.inference.predictor import Detector
from rcnn.methods import RCNN, FasterRCNN, Method
from rcnn.sample import Sample
from rcnn.structures import Batch, PaddedDetections, Proposals, to_device

ENOUGH = 5.0
"""Seconds after which a part is not measured again on the same picture."""
T = TypeVar("T")


@dataclass(frozen=True)
class Phases:
    """Seconds a picture."""

    reading: float
    """Decoding and resizing."""
    proposals: float | None
    """Selective search, or the RPN; None where the pictures brought their proposals along."""
    convolutions: float
    """What all regions share. For R-CNN nothing."""
    regions: float
    """Pooling, head, suppression; for R-CNN warping and the whole network."""


def phase_seconds(detector: Detector, samples: Sequence[Sample], repeats: int = 3) -> Phases:
    """The median over samples of the median over `repeats`, after one picture to warm up.

    One picture at a time. The parts are those of the model's own forward pass, waited for one by one, so that their
    sum is a little more than a forward pass takes on a GPU. Raises ValueError without samples.
    """
    if not samples:
        raise ValueError("no samples to measure the time of")
    _phases(detector, samples[0], 1)
    rows = [_phases(detector, sample, repeats) for sample in samples]
    found = [row.proposals for row in rows if row.proposals is not None]
    return Phases(
        median(row.reading for row in rows),
        median(found) if len(found) == len(rows) else None,
        median(row.convolutions for row in rows),
        median(row.regions for row in rows),
    )


@torch.inference_mode()
def _phases(detector: Detector, sample: Sample, repeats: int) -> Phases:
    model, search = detector.model.eval(), None
    assert isinstance(model, Method)
    clock = _Clock(detector.device, repeats)
    with torch.autocast(detector.device.type, torch.bfloat16, enabled=detector.bf16):
        batch, reading = clock.time(lambda: to_device(detector.batch_of(_read(detector, sample)), detector.device))
        if detector.proposer is not None:
            boxes, search = _outside(detector, sample, clock)
            batch = to_device(detector.batch_of(_read(detector, sample), boxes), detector.device)
        features, convolutions = clock.time(lambda: model.features(batch.images))
        proposals = batch.proposals
        if isinstance(model, FasterRCNN):
            proposals, search = clock.time(lambda: model.rpn(features, batch, model.limits))
        assert proposals is not None
        _, regions = clock.time(lambda: _detect(model, features, proposals, batch))
    return Phases(reading, search, convolutions, regions)


def _detect(model: Method, features: list[torch.Tensor], proposals: Proposals, batch: Batch) -> PaddedDetections:
    """What comes after the features. R-CNN's are the picture itself, and its regions go through in parts."""
    if isinstance(model, RCNN):
        return model(batch)
    scores, deltas = model.head.predict(model.describe(features, proposals.boxes))
    return model.postprocess(proposals, scores, deltas, batch)


def _read(detector: Detector, sample: Sample) -> UInt8[np.ndarray, "H W 3"]:
    return resolve(sample.picture, detector.max_pixels, detector.preprocess.channels)


def _outside(detector: Detector, sample: Sample, clock: "_Clock") -> tuple[np.ndarray, float | None]:
    """The regions that the sample brings, or those that are searched for, and the seconds that it took."""
    if sample.proposals is not None:
        return sample.proposals, None
    assert detector.proposer is not None
    proposer, pixels = detector.proposer, _read(detector, sample)
    return clock.time(lambda: proposer.find(pixels))


@dataclass(frozen=True)
class _Clock:
    device: torch.device
    repeats: int

    def time(self, work: Callable[[], T]) -> tuple[T, float]:
        """What the work gives, and the median of its seconds."""
        seconds: list[float] = []
        while not seconds or (len(seconds) < self.repeats and sum(seconds) < ENOUGH):
            finish(self.device)
            began = time.perf_counter()
            result = work()
            finish(self.device)
            seconds.append(time.perf_counter() - began)
        return result, median(seconds)
