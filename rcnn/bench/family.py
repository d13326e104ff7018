"""The family on VGG16: how near each method comes to the speed of its multiply-adds.

R-CNN, Fast R-CNN, SPPnet at one scale and at five, and Fast R-CNN with truncated layers, all on one made-up picture and
the same regions, with random weights: speed depends on neither. The yardstick, which each method runs in turn with,
is VGG16's convolutions (with their ReLUs and poolings) of the whole picture. Multiply-adds are those of convolutions
and fully connected layers as they are defined, however they are computed, the canvas around a picture included; all
other work counts as time only.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import nn

from rcnn import build
from rcnn.agreement import near
from rcnn.bench.harness import Case, Closing, Row, Way
from rcnn.bench.multiply_adds import multiply_adds
from rcnn.bench.pictures import photo
from rcnn.compression.svd import LowRankLinear, parameters
from rcnn.config import Config
from rcnn.heads.box_head import BoxHead
from rcnn.inference.predictor import Detector, Proposer
from rcnn.presets import PRESETS
from rcnn.structures import Batch

METHODS: Mapping[str, str] = {
    "R-CNN": "rcnn-vgg16",
    "Fast R-CNN": "fast-rcnn-vgg16",
    "SPPnet, 1 scale": "sppnet-zf",
    "SPPnet, 5 scales": "sppnet-zf",
    "Fast R-CNN, SVD": "fast-rcnn-vgg16",
}
"""By name the preset that each begins with, on VGG16 whatever its own network."""
SLOW, YARDSTICK, TRUNCATED = "R-CNN", "Fast R-CNN", "Fast R-CNN, SVD"
SIZE, REGIONS, CLASSES = (600, 800), 2000, 20
ALONE = 64
"""Regions of R-CNN on a processor, where all would take minutes; its figures are scaled to all."""
SCALES = (480, 576, 688, 864, 1200)
RANKS = (1024, 256)
LEAST_SIDE = 20.0
"""Of a region, in pixels of the picture: what `rcnn propose` keeps."""
FEW = 16
"""Regions that are looked at together, and by halves, to see that it makes no difference."""
SHARE = 0.6
"""Of the convolutions' rate, that a method shall reach."""
GMAC, YARDSTICKS = "GMAC", "GMAC in the convolutions"


def cases(device: torch.device) -> Iterator[Case]:
    """Each method, then the layers that truncation makes small."""
    picture, yardstick = photo(*SIZE, seed=0), detector_of(configuration(YARDSTICK), device)
    for name in METHODS:
        detector = yardstick if name == YARDSTICK else detector_of(configuration(name), device)
        count = ALONE if name == SLOW and device.type == "cpu" else REGIONS
        yield method_case(name, detector, yardstick, picture, regions(count, *SIZE, seed=0))
    yield layers_case(head_of(yardstick), head_of(detector), REGIONS, device)


def configuration(name: str) -> Config:
    """A paper's preset on VGG16. SPPnet's sizes are its own; the others take pictures as they are."""
    config = PRESETS[METHODS[name]]()
    model: dict[str, Any] = {"backbone": "vgg16"}
    sides = {} if name == "SPPnet, 1 scale" else {"short": SIZE[0], "long": SIZE[0] * 5 // 3}
    if name == "SPPnet, 5 scales":
        sides, model["image_scales"] = {"short": max(SCALES), "long": max(SCALES) * 10}, SCALES
    if name == TRUNCATED:
        model["head"] = config.model.head.model_copy(update={"ranks": RANKS})
    changed = {"model": config.model.model_copy(update=model), "input": config.input.model_copy(update=sides)}
    return config.model_copy(update=changed)


def detector_of(config: Config, device: torch.device) -> Detector:
    """A detector with random weights."""
    config = build.resolved(config, pretrained=False)
    model, _ = build.detector(config, CLASSES)
    names = [f"class {number}" for number in range(CLASSES)]
    return Detector(model.eval(), build.preprocess(config.input), names, device, proposer=Proposer("fast", REGIONS))


def head_of(detector: Detector) -> BoxHead:
    """The head of a detector."""
    head = detector.model.head
    assert isinstance(head, BoxHead)
    return head


def regions(count: int, height: int, width: int, seed: int) -> Float[np.ndarray, "P 4"]:
    """Boxes anywhere in a picture, of all sizes from LEAST_SIDE to the picture's, as likely in each octave."""
    generator = np.random.default_rng(seed)
    extent = np.array([width, height])
    least = np.minimum(LEAST_SIDE, extent)
    sides = least * (extent / least) ** generator.random((count, 2))
    corners = generator.random((count, 2)) * (extent - sides)
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)


def method_case(
    name: str,
    detector: Detector,
    yardstick: Detector,
    picture: UInt8[np.ndarray, "H W 3"],
    boxes: Float[np.ndarray, "P 4"],
) -> Case:
    """A method beside the convolutions that it shares, or should share, among its regions."""
    images, batch = yardstick.batch_of(picture).images, with_regions(detector, picture, boxes)
    work = partial(detector.model, batch)
    shares: Any = yardstick.model
    convolutions = partial(shares.features, images)
    own, shared = multiply_adds(detector.model, work), multiply_adds(yardstick.model, convolutions)
    ways = (
        Way("its convolutions" if detector is yardstick else "VGG16's convolutions", quiet(convolutions)),
        Way(name, quiet(work), wanted=SHARE * shared / own),
    )
    facts = {"regions": len(boxes), GMAC: own / 1e9, YARDSTICKS: shared / 1e9}
    few = with_regions(detector, picture, boxes[:FEW])
    return Case(f"family, {name}", ways, partial(together_as_apart, detector, few), facts)


@torch.inference_mode()
def together_as_apart(detector: Detector, batch: Batch) -> str:
    """Whether a region's scores and deltas are the same whichever others it goes with: only so does work add up."""
    model: Any = detector.model
    boxes = batch.regions.boxes
    features = model.features(batch.images)
    whole = model.head.predict(model.describe(features, boxes))
    halves = [model.head.predict(model.describe(features, half)) for half in boxes.split(len(boxes[0]) // 2, dim=1)]
    parts = zip(whole, zip(*halves, strict=True), strict=True)
    furthest = max(near(torch.cat(apart), together, 1e-4, "regions by halves") for together, apart in parts)
    return f"{furthest:.0e}, regions together and by halves"


def layers_case(whole: BoxHead, truncated: BoxHead, count: int, device: torch.device) -> Case:
    """The layers of a head, whole and as two factors each; the whole ones are made the product of the factors."""
    pooled = torch.randn(count, whole.pooled_width // 49, 7, 7, device=device).contiguous(
        memory_format=torch.channels_last
    )
    multiplied_out(whole, truncated)
    ways = [Way(name, quiet(partial(head.vectors, pooled))) for name, head in (("whole", whole), ("SVD", truncated))]

    @torch.inference_mode()
    def check() -> str:
        few = pooled[:FEW]
        return f"{near(truncated.vectors(few), whole.vectors(few), 1e-3, 'vectors'):.0e}"

    facts = {"regions": count, "parameters": parameters(whole.layers), "left": parameters(truncated.layers)}
    return Case("family, fc6 and fc7", ways, check, facts)


@torch.no_grad()
def multiplied_out(whole: BoxHead, truncated: BoxHead) -> None:
    """Give whole layers the values that truncated ones stand for."""
    for layer, low in zip(whole.layers.values(), truncated.layers.values(), strict=True):
        assert isinstance(layer, nn.Linear)
        assert isinstance(low, LowRankLinear)
        layer.weight.copy_(low.second.weight @ low.first.weight)
        layer.bias.copy_(low.second.bias)


def with_regions(detector: Detector, picture: UInt8[np.ndarray, "H W 3"], boxes: Float[np.ndarray, "P 4"]) -> Batch:
    """The picture with exactly these regions: more places than regions would be work that is not counted."""
    exact = copy(detector)
    exact.proposer = Proposer("fast", len(boxes))
    return exact.batch_of(picture, boxes)


def quiet(work: Callable[[], object]) -> Callable[[], object]:
    """The same without gradients, as in prediction."""
    return torch.inference_mode()(work)


def notes(rows: Sequence[Row]) -> list[str]:
    """The rates, and R-CNN's time over each method's beside what multiply-adds predict."""
    methods = [row for row in rows if GMAC in row.facts and row.way in METHODS]
    slow = next((row for row in methods if row.way == SLOW), None)
    return [_note(row, slow) for row in methods]


def _note(row: Row, slow: Row | None) -> str:
    gmac, seconds = whole(row)
    share = row.ratio * row.facts[GMAC] / row.facts[YARDSTICKS]
    rate = f"{share:.2f} of the convolutions' rate"
    said = f"{row.way}: {gmac:,.1f} GMAC and {seconds:.2f} s for {REGIONS:,} regions, {rate}"
    if slow is None or slow is row:
        return f"{said}."
    most, longest = whole(slow)
    measured, predicted = longest / seconds, most / gmac
    times = f"R-CNN takes {measured:.1f} times as long, by its multiply-adds {predicted:.1f}"
    return f"{said}; {times}: {measured / predicted:.2f} of it."


def whole(row: Row) -> tuple[float, float]:
    """Billions of multiply-adds, and seconds, of all regions."""
    scale = REGIONS / row.facts["regions"]
    return row.facts[GMAC] * scale, row.median * scale


CLOSING = Closing(notes)
