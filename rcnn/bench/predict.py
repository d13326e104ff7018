"""Prediction against torchvision's detectors: the same weights, from decoded pictures to their detections."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torchvision.models import detection as tv

from rcnn import build
from rcnn.acceleration.dense import missing_compiler
from rcnn.agreement import matched
from rcnn.bench.calibrated import calibrated, frozen, resized, tensor
from rcnn.bench.harness import Case, Goal, Way
from rcnn.bench.pages import with_small_pages
from rcnn.bench.pictures import Picture, photo
from rcnn.compat.torchvision import CONFIGS, from_state
from rcnn.data.preprocess import Preprocess
from rcnn.inference.predictor import Detector
from rcnn.methods import FasterRCNN
from rcnn.proposals.rpn import ProposalLimits
from rcnn.structures import Detections
from rcnn.training.session import computes_bf16

SAME = 0.98
"""Of the detections: of two boxes that tie, rounding decides which one suppresses the other."""
SINGLE, HALF = (SAME, 0.01, 1e-4), (0.9, 8.0, 0.03)
"""The share of the detections that must be the same, and by how many pixels and how much score, in each precision."""


@dataclass(frozen=True)
class Work:
    """A detector of torchvision's, and the pictures that it looks at together, of one size.

    `short` and `regions`: the side that they are resized to, and the proposals of each; 0 for as shipped.
    """

    name: str
    size: tuple[int, int]
    classes: int = 20
    batch: int = 1
    short: int = 0
    regions: int = 0

    def __str__(self) -> str:
        pictures = f"{self.batch} of " if self.batch > 1 else ""
        return f"{self.name}, {pictures}{self.size[0]} x {self.size[1]}"

    @property
    def preprocess(self) -> Preprocess:
        """As torchvision's."""
        settings = CONFIGS[self.name].input
        short = self.short or settings.short
        return build.preprocess(settings.model_copy(update={"short": short, "long": max(settings.long, 2 * short)}))


MOBILE, RESNET = "fasterrcnn_mobilenet_v3_large_320_fpn", "fasterrcnn_resnet50_fpn"
RACES: Mapping[str, Sequence[tuple[Work, Mapping[str, Goal]]]] = {
    "cpu": (
        (Work(MOBILE, (320, 480)), {"bf16": (2.5, None)}),
        (Work(RESNET, (800, 1216)), {"fp32": (1.8, None), "bf16": (4, None)}),
    ),
    "cuda": (
        (Work(RESNET, (800, 1333)), {"bf16": (6, 0.0025)}),
        (Work(RESNET, (800, 1333), batch=16), {"bf16": (5, 16 / 500)}),
    ),
}
"""By device, with what each precision shall reach: an H200's seconds. There torchvision runs in bf16, channels last."""


def cases(device: torch.device) -> Iterator[Case]:
    """What practice asks for: one picture at a time, on a GPU many too."""
    for work, wanted in RACES.get(device.type, RACES["cpu"]):
        yield predict_case(work, wanted, device, compiled=missing_compiler(device.type) is None)


def precisions(device: torch.device) -> tuple[bool, ...]:
    """Whether to race in bf16, single precision, or both: bf16 where the device computes in it, that alone on a GPU."""
    if device.type == "cuda":
        return (True,)
    return (False, True) if computes_bf16(device) else (False,)


def predict_case(work: Work, wanted: Mapping[str, Goal], device: torch.device, compiled: bool = False) -> Case:
    """Torchvision's detector as it is shipped, and this library's with its weights, `compiled` too if asked for."""
    pictures = [photo(*work.size, seed=seed) for seed in range(1, work.batch + 1)]
    theirs = as_measured(shipped(work, pictures[0]), device)
    detectors = {
        (bf16, graphs): detector_of(work, theirs, device, bf16, graphs)
        for bf16 in precisions(device)
        for graphs in (False, True)[: 1 + compiled]
    }
    ways = torchvision_ways(partial(torchvisions, theirs, pictures, device, bf16=device.type == "cuda"), device)
    for (bf16, graphs), one in detectors.items():
        name = f"rcnn{', bf16' if bf16 else ''}{', compiled' if graphs else ''}"
        ways.append(Way(name, partial(found, one, pictures), *wanted.get("bf16" if bf16 else "fp32", ())))

    def check() -> str:
        expected = torchvisions(theirs, pictures, device)
        if device.type == "cuda":  # there it is timed in half precision
            share_of(torchvisions(theirs, pictures, device, bf16=True), expected, *HALF)
        return "; ".join(agreement(one, pictures, expected) for one in detectors.values())

    counts = {"detections": sum(map(len, found(next(iter(detectors.values())), pictures)))}
    return Case(f"predict, {work}", ways, check, counts)


def torchvision_ways(work: Callable[[], object], device: torch.device) -> list[Way]:
    """Torchvision as it is shipped and, on a processor, with the large pages that this library asks for."""
    shipped = Way("torchvision", with_small_pages(work))
    return [shipped] if device.type == "cuda" else [shipped, Way("torchvision, large pages", work)]


def agreement(detector: Detector, pictures: Sequence[Picture], expected: Sequence[Detections]) -> str:
    """How much of what another finds a detector finds, and what it took to compile it, in words."""
    began = time.perf_counter()
    own = found(detector, pictures)
    compiling = f", compiled in {time.perf_counter() - began:.0f} s" if detector.compiled else ""
    share = share_of(own, expected, *(HALF if detector.bf16 else SINGLE))
    return f"{share:.0%} of the detections are the same{' in bf16' if detector.bf16 else ''}{compiling}"


def share_of(
    own: Sequence[Detections], expected: Sequence[Detections], least: float, pixels: float, score: float
) -> float:
    """The least share of the detections of a picture that both have; AssertionError under `least`, or for too few."""
    labels = {label for one in expected for label in one.labels.tolist()}
    if min(map(len, expected)) < 30 or len(labels) < 5:
        counts = [len(one) for one in expected]
        raise AssertionError(f"the other finds {counts} objects of {len(labels)} classes: too few to compare")
    return min(matched(a, b, least, pixels, score) for a, b in zip(own, expected, strict=True))


def shipped(work: Work, picture: Picture) -> Any:
    """Torchvision's detector with frozen norms, as it is pretrained, and random weights that find things."""
    options = {"rpn_pre_nms_top_n_test": work.regions, "rpn_post_nms_top_n_test": work.regions} if work.regions else {}
    plain = untrained(work.name, work.classes, **options)
    resized(plain, work.preprocess.short, work.preprocess.long)
    epsilon = 0.0 if work.name == "fasterrcnn_resnet50_fpn" else 1e-5  # torchvision's, in its pretrained detectors
    spread = 0.2 + 0.35 * max(0.0, math.log(work.classes / 20))  # of many classes some still score above 0.05
    return frozen(calibrated(plain, [picture], spread), epsilon)


def untrained(name: str, classes: int, **options: int) -> Any:
    """Torchvision's detector with random weights, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return getattr(tv, name)(weights=None, weights_backbone=None, num_classes=classes + 1, **options)


def as_measured(theirs: Any, device: torch.device) -> Any:
    """Torchvision's detector on a device: as shipped on a processor, channels last on a GPU."""
    return theirs.to(device, memory_format=torch.channels_last) if device.type == "cuda" else theirs.to(device)


def detector_of(work: Work, theirs: Any, device: torch.device, bf16: bool, compiled: bool = False) -> Detector:
    """This library's detector with the weights of torchvision's."""
    model, class_names = from_state(work.name, theirs.state_dict())
    if work.regions and isinstance(model, FasterRCNN):
        model = model.limited(ProposalLimits(work.regions, work.regions, model.limits.score, model.limits.nms))
    detector = Detector(model, work.preprocess, class_names, device, bf16)
    if compiled:
        detector.compile()
    return detector.settled()


def found(detector: Detector, pictures: Sequence[Picture]) -> list[Detections]:
    """What this library finds."""
    return list(detector.predict(pictures, batch=len(pictures)))


@torch.inference_mode()
def torchvisions(model: Any, pictures: Sequence[Picture], device: torch.device, bf16: bool = False) -> list[Detections]:
    """What torchvision finds."""
    images = [tensor(picture).to(device) for picture in pictures]
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        rows = model.eval()(images)
    found = ([row[key].cpu() for key in ("boxes", "scores", "labels")] for row in rows)
    return [Detections(boxes.float(), scores.float(), labels, ()) for boxes, scores, labels in found]
