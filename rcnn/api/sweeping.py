"""How much truncation of its fully connected layers a run bears, and what it gains."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rcnn.api.compressing import fully_connected_head, load_run
from rcnn.api.data import Data, read_data
from rcnn.api.measuring import evaluate_detector, evaluation_samples
from rcnn.api.sweep_points import KeptPoints
from rcnn.compression.svd import Decomposition, decompose, parameters, paying_rank
from rcnn.errors import ConfigError, DataError
from rcnn.heads.box_head import BoxHead
from rcnn.inference.predictor import Detector
from rcnn.report.sweep import FULL, Sweep, SweepPoint, holds
from rcnn.report.words import counted
from rcnn.sample import Sample
from rcnn.training.feature_plan import content_key

TOGETHER, SHARES = "together", "each its share"
Ranks = dict[str, int]


def sweep(
    run: Path | str,
    data: Data,
    split: str = "val",
    points: int = 5,
    tolerance: float = 0.5,
    repeats: int = 10,
    batch: int = 4,
    device: str = "auto",
    proposals: Path | None = None,
    on_point: Callable[[SweepPoint], object] = lambda point: None,
    keep: Path | None = None,
    resume: bool = False,
    weights: Path | str | None = None,
) -> Sweep:
    """Measure a run with its fully connected layers truncated: none, each alone, all together; `points` ranks each.

    `run` may be `LIBRARY:NAME`, its `weights` in a file. A last point, `each its share`, gives each layer the least
    rank that alone costs at most its share of the `tolerance`, in hundredths of AP50. AP is COCO's, on a split; times
    are the least of `repeats`, taken in turns, of the split's first picture, `proposals` (a file, for the methods that
    need them; else searched for) left out.
    `on_point` hears of each point once its AP is known; its times are still NaN then. Until the end they are also in
    the file `keep`, and with `resume` those that an interrupted sweep left there are not measured again.
    """
    study = _study(run, data, split, proposals, batch, device, weights)
    kept = KeptPoints(keep, _about(split, study))
    if resume:
        kept.read()
    measured: list[SweepPoint] = []
    for path, ranks in _path(study, points, tolerance, measured):
        measured.append(_point(study, kept, path, ranks))
        if math.isnan(measured[0].ap50):
            raise DataError(f"split '{split}': has no object to measure AP50 by; pass another --split")
        on_point(measured[-1])
    timed, regions = study.timed(measured, repeats)
    machine = f"{_name(study.detector.device)}, {counted(torch.get_num_threads(), 'thread')}"
    return Sweep(str(run), split, len(study.samples), regions, machine, repeats, tuple(timed))


def _path(study: "Study", points: int, tolerance: float, measured: Sequence[SweepPoint]) -> Iterator[tuple[str, Ranks]]:
    """What to measure next, given what is `measured` by then."""
    yield FULL, {}
    yield from grid({name: part.layer for name, part in study.parts.items()}, points)
    ranks = least_ranks(measured, tolerance / len(study.parts))
    if len(ranks) > 1 and all(ranks != point.ranks for point in measured):
        yield SHARES, ranks


def _point(study: "Study", kept: KeptPoints, path: str, ranks: Ranks) -> SweepPoint:
    """A point as it was measured before, or measured now and kept."""
    if known := kept.find(ranks):
        return replace(known, path=path)
    point = study.accuracy(path, ranks)
    kept.add(point)
    return point


def _about(split: str, study: "Study") -> dict[str, str]:
    """What the accuracy of a point depends on; `study` has its layers whole yet."""
    weights = content_key({n: t.float().cpu().numpy() for n, t in study.detector.model.state_dict().items()})
    truth = [[sample.id, sample.boxes, list(sample.names), sample.difficult, sample.crowd] for sample in study.samples]
    regions = [sample.proposals for sample in study.samples]
    return {"run": weights, "split": split, "truth": content_key(truth), "proposals": content_key(regions)}


@dataclass(frozen=True)
class Study:
    """A detector whose layers are exchanged, and the pictures that it is measured on."""

    detector: Detector
    head: BoxHead
    layers: Mapping[str, nn.Module]
    """The head's layers as they were."""
    parts: Mapping[str, Decomposition]
    """Those that can be truncated."""
    samples: Sequence[Sample]
    batch: int

    def truncated(self, ranks: Mapping[str, int]) -> nn.ModuleDict:
        """The head's layers, those that have a rank cut to it."""
        cut = {name: self.parts[name].truncated(rank) for name, rank in ranks.items()}
        return nn.ModuleDict({name: cut.get(name, layer) for name, layer in self.layers.items()})

    def accuracy(self, path: str, ranks: Ranks) -> SweepPoint:
        """AP at these ranks."""
        self.head.layers = self.truncated(ranks)
        metrics = evaluate_detector(self.detector, self.samples, batch=self.batch)[0].metrics
        count = parameters(self.head.layers)
        return SweepPoint(path, ranks, count, metrics["AP"], metrics["AP50"], math.nan, math.nan)

    def timed(self, points: Sequence[SweepPoint], repeats: int) -> tuple[list[SweepPoint], int]:
        """The points with their times, and the regions of a picture.

        They are measured in turns, so that a slow minute of the machine falls on all of them.
        """
        rows = self._rows()
        variants = [self.truncated(point.ranks) for point in points]
        best = [(math.inf, math.inf)] * len(points)
        for _ in range(repeats):
            for place, self.head.layers in enumerate(variants):
                picture, layers = self._picture_seconds(), _seconds(self.head.layers, rows)
                best[place] = (min(best[place][0], layers), min(best[place][1], picture))
        times = zip(points, best, strict=True)
        return [replace(p, layers_ms=1e3 * layers, picture_ms=1e3 * whole) for p, (layers, whole) in times], len(rows)

    def _rows(self) -> Float[Tensor, "N D"]:
        """What the first layer reads of the first picture's regions."""
        seen: list[Tensor] = []
        self.head.layers = self.truncated({})
        first = next(iter(self.head.layers.values()))
        hook = first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
        self._picture_seconds()
        hook.remove()
        return torch.cat(seen)  # a method may look at its regions in several parts

    def _picture_seconds(self) -> float:
        """Of the first picture, from its file to its detections."""
        began = time.perf_counter()
        next(self.detector.predict(self.samples[:1]))
        return time.perf_counter() - began


def grid(layers: Mapping[str, nn.Linear], points: int) -> Iterator[tuple[str, Ranks]]:
    """Each layer alone, then all together, at 3/4, 1/2, 1/4, 1/8 ... of the rank below which truncation saves."""
    shares = [3 / 4, *(0.5**n for n in range(1, points))]
    steps = {name: [max(1, int(share * paying_rank(layer))) for share in shares] for name, layer in layers.items()}
    for name, ranks in steps.items():
        yield from ((name, {name: rank}) for rank in dict.fromkeys(ranks))
    if len(steps) > 1:
        for together in dict.fromkeys(zip(*steps.values(), strict=True)):
            yield TOGETHER, dict(zip(steps, together, strict=True))


def least_ranks(points: Sequence[SweepPoint], tolerance: float) -> Ranks:
    """Of each layer the least rank that was borne where it was truncated alone; layers that bore none are left out."""
    full, ranks = points[0], Ranks()
    for point in points:
        if point.path in point.ranks and holds(point, full, tolerance):
            ranks[point.path] = min(point.ranks[point.path], ranks.get(point.path, point.ranks[point.path]))
    return ranks


@torch.inference_mode()
def _seconds(layers: nn.ModuleDict, rows: Float[Tensor, "N D"]) -> float:
    """Of the fully connected layers alone."""
    _wait(rows.device)
    began = time.perf_counter()
    for layer in layers.values():
        rows = F.relu(layer(rows))
    _wait(rows.device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    """Until the device has done its work."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _study(
    run: Path | str,
    data: Data,
    split: str,
    proposals: Path | None,
    batch: int,
    device: str,
    weights: Path | str | None,
) -> Study:
    """The layers decomposed and the pictures read; raises an error where there are none of either."""
    detector = load_run(run, device, weights).detector
    head = fully_connected_head(detector, run)
    whole = {name: layer for name, layer in head.layers.items() if isinstance(layer, nn.Linear)}
    if not whole:
        raise ConfigError(f"{run}: all its layers are truncated already; give the run that it was made from")
    dataset = read_data(data, "drop", max_pixels=detector.max_pixels, channels=detector.preprocess.channels)
    samples = evaluation_samples(detector, dataset, split, Path(run), proposals)
    if not samples:
        raise DataError(f"split '{split}': has no pictures; pass another --split")
    parts = {name: decompose(layer) for name, layer in whole.items()}
    return Study(detector, head, dict(head.layers.items()), parts, samples, batch)
