"""The operators against torchvision's and torch's: suppression, matching, convolution, pooling."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d
from torchvision.models.detection._utils import Matcher
from torchvision.ops import MultiScaleRoIAlign, batched_nms, box_iou
from torchvision.ops import roi_pool as torchvision_roi_pool

from rcnn.agreement import same
from rcnn.anchors import AnchorGrid
from rcnn.bench.convolution import convolution_cases
from rcnn.bench.harness import Case, Way
from rcnn.bench.pooling import Pooling, pooling_cases
from rcnn.data.loader import make_targets
from rcnn.matching import match
from rcnn.ops import nms, roi_align, roi_pool, spp
from rcnn.ops.levels import levels_of
from rcnn.ops.spp import spp_bins
from rcnn.report.words import counted
from rcnn.sample import Sample
from rcnn.structures import Targets, to_device

PYRAMID = (4.0, 8.0, 16.0, 32.0)
"""Strides of the levels that regions are read from."""
CANVAS = (800, 1216)
STRIDE = 16
"""Of the one map of the papers' networks."""
PAPER_MAP = (38, 50)
"""Cells of that map for a picture of 600 x 800."""
SPP_BINS = (1, 2, 3, 6)


def cases(device: torch.device) -> Iterator[Case]:
    """Every operator, smallest first."""
    for boxes in (1000, 2000, 5000):
        yield nms_case(boxes, device)
    for pictures, objects in ((1, 2), (4, 40)):
        yield matching_case(device, pictures, objects)
    if device.type == "cpu":  # elsewhere it is torch's
        yield from convolution_cases()
    yield from roi_align_cases(device)
    yield from roi_pool_cases(device)
    yield from spp_cases(device)


def seeded(number: int) -> torch.Generator:
    """Chance that is the same on every machine."""
    return torch.Generator().manual_seed(number)


def random_boxes(pictures: int, count: int, canvas: tuple[int, int], chance: torch.Generator) -> Float[Tensor, "B N 4"]:
    """Boxes of all sizes from 16 pixels on, as likely in each octave, in clusters as proposals are."""
    extent = torch.tensor([canvas[1], canvas[0]], dtype=torch.float32)
    centres = torch.rand(pictures, 1 + count // 10, 2, generator=chance) * extent
    chosen = torch.randint(centres.shape[1], (pictures, count), generator=chance)
    moved = 8 * torch.randn(pictures, count, 2, generator=chance)
    octaves = (extent / 32) ** torch.rand(pictures, count, 1, generator=chance)
    halves = 8 * octaves * (0.7 + 0.6 * torch.rand(pictures, count, 2, generator=chance))
    middles = centres.gather(1, chosen[..., None].expand(-1, -1, 2)) + moved
    low, high = (middles - halves).clamp(min=0), torch.minimum(middles + halves, extent)
    return torch.cat((torch.minimum(low, high - 1), high), dim=-1)


def nms_case(count: int, device: torch.device, pictures: int = 4, kept: int = 1000) -> Case:
    """Suppression of proposals: five levels, IoU 0.7, the best thousand, as in the RPN."""
    chance = seeded(count)
    boxes = random_boxes(pictures, count, CANVAS, chance).to(device)
    scores = torch.rand(pictures, count, generator=chance).to(device)
    groups = torch.randint(5, (pictures, count), generator=chance).to(device)
    valid = torch.ones_like(groups, dtype=torch.bool)

    def theirs(*parts: Tensor) -> list[Tensor]:
        return [batched_nms(*picture, 0.7)[:kept] for picture in zip(*parts, strict=True)]

    def ours() -> tuple[Tensor, Tensor]:
        return nms(boxes, scores, groups, valid, 0.7, kept)

    def check() -> str:
        index, filled = to_device(ours(), "cpu")
        # Torchvision moves groups apart, which rounds their boxes: on a processor those of up to 1,000 boxes alone.
        for own, found, expected in zip(index, filled, theirs(*to_device((boxes, scores, groups), "cpu")), strict=True):
            same(own[found], expected, "kept boxes")
        return "the same boxes"

    survivors = float(ours()[1].sum()) / pictures
    ways = (Way("torchvision batched_nms", partial(theirs, boxes, scores, groups)), Way("rcnn", ours, wanted=4))
    return Case(f"nms, {pictures} x {count:,}", ways, check, {"kept a picture": survivors})


def matching_case(device: torch.device, pictures: int, objects: int) -> Case:
    """Which anchors learn which object, at 800 x 1216."""
    grid = AnchorGrid(((32,), (64,), (128,), (256,), (512,)), (0.5, 1.0, 2.0)).to(device)
    shapes = [(-(-CANVAS[0] // s), -(-CANVAS[1] // s)) for s in (4, 8, 16, 32, 64)]
    anchors = grid(shapes, CANVAS).boxes
    targets = to_device(_targets(pictures, objects), device)
    matcher = Matcher(0.7, 0.3, allow_low_quality_matches=True)

    def theirs() -> Tensor:
        return torch.stack([matcher(box_iou(truth, anchors)) for truth in targets.boxes[:, :objects]])

    def ours() -> Tensor:
        matches = match(anchors[None], targets)
        positive, negative = (matches.iou >= 0.7) | matches.best, matches.iou < 0.3
        return torch.where(positive, matches.index, torch.where(negative, -1, -2))

    def check() -> str:
        own, expected = ours(), theirs()
        same(own.clamp(max=0), expected.clamp(max=0), "positive, negative and ignored anchors")
        differing = int((own != expected).sum())  # of objects that an anchor overlaps alike either may be its own
        if differing > len(own):
            raise AssertionError(f"{differing} anchors learn another object")
        return "the same anchors, positive and negative"

    ways = (Way("torchvision box_iou, Matcher", theirs), Way("rcnn", ours))
    return Case(
        f"matching, {counted(pictures, 'picture')} of {objects} objects", ways, check, {"anchors": len(anchors)}
    )


def _targets(pictures: int, objects: int) -> Targets:
    boxes = random_boxes(pictures, objects, CANVAS, seeded(0)).numpy()
    names, nobody_looks = ("object",) * objects, np.zeros((1, 1, 3), np.uint8)
    samples = [Sample(id=str(n), picture=nobody_looks, boxes=rows, names=names) for n, rows in enumerate(boxes)]
    return make_targets(samples, {"object": 1}, list(range(pictures)), pictures)


def roi_align_cases(device: torch.device, regions: int = 1000, channels: int = 256) -> Iterator[Case]:
    """RoIAlign of a pyramid of 800 x 1216 pixels: 7 x 7 bins, 2 x 2 samples."""
    chance = seeded(0)
    shapes = [(int(CANVAS[0] // s), int(CANVAS[1] // s)) for s in PYRAMID]
    pyramid = [torch.randn(1, channels, *shape, generator=chance).to(device) for shape in shapes]
    boxes = random_boxes(1, regions, CANVAS, chance).to(device)
    pooler = MultiScaleRoIAlign([str(n) for n in range(len(PYRAMID))], 7, 2)

    def theirs(maps: Sequence[Tensor]) -> Tensor:
        return pooler({str(n): level for n, level in enumerate(maps)}, [boxes[0]], [CANVAS])

    work = Pooling(
        f"roi_align, {regions:,} regions of {channels} channels, 4 levels",
        "torchvision MultiScaleRoIAlign",
        theirs,
        lambda maps: roi_align(maps, boxes, levels_of(boxes, PYRAMID), PYRAMID),
        pyramid,
    )
    yield from pooling_cases(work, forward={"fp32": 7, "bf16": 30}, both=6)


def roi_pool_cases(device: torch.device, regions: int = 300, channels: int = 512) -> Iterator[Case]:
    """RoI pooling of Fast R-CNN's map: 7 x 7 bins."""
    plain = torch.randn(1, channels, *PAPER_MAP, generator=seeded(0)).to(device)
    boxes, levels = _on_map(regions, device)
    work = Pooling(
        f"roi_pool, {regions} regions of {channels} channels",
        "torchvision roi_pool",
        lambda maps: torchvision_roi_pool(maps[0], [boxes[0]], 7, 1 / STRIDE),
        lambda maps: roi_pool(maps, boxes, levels, (STRIDE,)),
        [plain],
    )
    yield from pooling_cases(work, both=3)


def spp_cases(device: torch.device, regions: int = 300, channels: int = 512) -> Iterator[Case]:
    """SPPnet's pyramid of bins, which torchvision lacks: against torch's pooling of each region's crop.

    Nor would four of torchvision's `roi_pool` do: SPPnet rounds its corners otherwise.
    """
    plain = torch.randn(1, channels, *PAPER_MAP, generator=seeded(0)).to(device)
    boxes, levels = _on_map(regions, device)
    work = Pooling(
        f"spp, {regions} regions of {channels} channels",
        "adaptive_max_pool2d of each crop",
        partial(_spp_of_crops, boxes=boxes, levels=levels),
        lambda maps: spp(maps, boxes, levels, (STRIDE,), SPP_BINS),
        [plain],
    )
    yield from pooling_cases(work, both=3)


def _on_map(regions: int, device: torch.device) -> tuple[Tensor, Tensor]:
    canvas = PAPER_MAP[0] * STRIDE, PAPER_MAP[1] * STRIDE
    boxes = random_boxes(1, regions, canvas, seeded(1)).to(device)
    return boxes, torch.zeros(1, regions, dtype=torch.int64, device=device)


def _spp_of_crops(maps: Sequence[Tensor], boxes: Tensor, levels: Tensor) -> Tensor:
    (features,) = maps
    regions = spp_bins([(features.shape[2], features.shape[3])], boxes, levels, (STRIDE,), (1,))[0, :, 0].tolist()
    crops = [features[:, :, top:bottom, left:right] for top, bottom, left, right in regions]
    return torch.cat([torch.cat([adaptive_max_pool2d(crop, n).flatten(2) for n in SPP_BINS], dim=2) for crop in crops])
