"""The family on VGG16: how long each method takes for a picture, and how long its multiply-adds should take.

R-CNN, Fast R-CNN, SPPnet at one scale and at five, and Fast R-CNN with fc6 and fc7 truncated to rank 1024 and 256, all
on the same made-up pictures and regions, with random weights: speed depends on neither. The yardstick is VGG16's
convolutions (with their ReLUs and poolings) of the whole picture, timed right before and after each method. The
multiply-adds are those of the convolutions and fully connected layers, counted as they run, the canvas around a
picture included; all other work counts as time only.

R-CNN takes minutes a picture. What is measured is written to --json at once, and not measured again by another call
with the same file and settings, which may add parts.
"""

import argparse
import json
import os
import platform
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from rcnn import build
from rcnn.compression.svd import parameters
from rcnn.config import Config, InputSettings
from rcnn.data.picture import resolve
from rcnn.errors import RcnnError
from rcnn.inference.predictor import Detector, Proposer
from rcnn.methods import Method
from rcnn.presets import PRESETS
from rcnn.runs import write_text
from rcnn.structures import Batch

PARTS = {
    "rcnn": "R-CNN",
    "fast": "Fast R-CNN",
    "spp1": "SPPnet, 1 scale",
    "spp5": "SPPnet, 5 scales",
    "svd": "Fast R-CNN, SVD",
}
ASPECTS = (5 / 3, 4 / 3, 3 / 2)
"""Width over height of the made-up pictures, in turn."""
NAMES = tuple(f"class {number}" for number in range(20))
SCALES = (480, 576, 688, 864, 1200)
RANKS = (1024, 256)
LEAST_SIDE = 20.0
"""Of a region, in pixels of the picture: what `rcnn propose` keeps."""
FEW = 64
"""Regions of the run that warms a method up."""
ENOUGH = 10.0
"""Seconds after which a method is not run again on the same picture."""


class Tally:
    """Multiply-adds so far."""

    total = 0

    def add(self, layer: nn.Module, _: object, output: Tensor) -> None:
        """Count a layer that has just run: each of its outputs is a sum over the weights of one output channel."""
        assert isinstance(layer.weight, Tensor)
        self.total += output.numel() * layer.weight[0].numel()


@contextmanager
def counting(model: nn.Module) -> Iterator[Tally]:
    """Count the multiply-adds of the convolutions and fully connected layers of a model that run inside."""
    tally = Tally()
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(tally.add) for layer in layers]
    try:
        yield tally
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class Row:
    """One method on one picture."""

    part: str
    picture: int
    gmac: float
    seconds: float
    rate: float
    """Billions of multiply-adds a second in the convolutions alone, just then."""
    measured: int
    """Regions that were measured; the figures are scaled to all."""
    commit: str

    @property
    def share(self) -> float:
        """The method's rate as a share of the convolutions'."""
        return self.gmac / self.seconds / self.rate


@dataclass(frozen=True)
class Summary:
    """A method over its pictures: medians. Ratios are R-CNN's seconds, or multiply-adds, over this method's."""

    gmac: float
    seconds: float
    gmac_per_second: float
    share: float
    measured_ratio: float | None
    predicted_ratio: float | None
    quotient: float | None
    """Of the two ratios."""


@dataclass(frozen=True)
class Layers:
    """fc6 and fc7 before and after truncation."""

    parameters: tuple[int, int]
    milliseconds: tuple[float, float]


def configuration(part: str, size: int) -> Config:
    """The paper's preset on VGG16; SPPnet's sizes are its own, the others take pictures of `size`."""
    name = {"rcnn": "rcnn-vgg16", "spp1": "sppnet-zf", "spp5": "sppnet-zf"}.get(part, "fast-rcnn-vgg16")
    config = PRESETS[name]()
    model: dict[str, Any] = {"backbone": "vgg16"}
    sides = {"short": size, "long": size * 5 // 3}
    if part == "spp5":
        sides, model["image_scales"] = {"short": max(SCALES), "long": max(SCALES) * 10}, SCALES
    if part == "svd":
        model["head"] = config.model.head.model_copy(update={"ranks": RANKS})
    inputs: InputSettings = config.input if part == "spp1" else config.input.model_copy(update=sides)
    return config.model_copy(update={"model": config.model.model_copy(update=model), "input": inputs})


def made_up(number: int, size: int) -> UInt8[np.ndarray, "H W 3"]:
    """A picture of noise."""
    width = round(size * ASPECTS[number % len(ASPECTS)])
    return np.random.default_rng(number).integers(0, 256, (size, width, 3), np.uint8)


def regions(count: int, height: int, width: int, seed: int) -> Float[np.ndarray, "P 4"]:
    """Boxes anywhere in a picture, of all sizes from LEAST_SIDE to the picture's, as likely in each octave."""
    generator = np.random.default_rng(seed)
    extent = np.array([width, height])
    least = np.minimum(LEAST_SIDE, extent)
    sides = least * (extent / least) ** generator.random((count, 2))
    corners = generator.random((count, 2)) * (extent - sides)
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)


class Benchmark:
    """The networks, and what is done with them."""

    def __init__(self, parts: Sequence[str], size: int, bf16: bool) -> None:
        self.size, self.bf16 = size, bf16
        self.models: dict[str, Method] = {}
        self.detectors: dict[str, Detector] = {}
        for part in dict.fromkeys(("fast", *parts)):  # Fast R-CNN's convolutions are the yardstick
            config = build.resolved(configuration(part, size), pretrained=False)
            model, _ = build.detector(config, len(NAMES))
            self.models[part] = model.eval()
            self.detectors[part] = Detector(model, build.preprocess(config.input), NAMES)

    def measure(
        self, part: str, picture: UInt8[np.ndarray, "H W 3"], boxes: Float[np.ndarray, "P 4"], measured: int
    ) -> tuple[float, float, float]:
        """Billions of multiply-adds, seconds, and the convolutions' rate, of the first `measured` regions."""
        model = self.models[part]
        few, batch = (self._batch(part, picture, boxes[:count]) for count in (FEW, measured))
        self._seconds(lambda: model(few))
        before = self._rate(picture)
        with counting(model) as tally:
            seconds = [self._seconds(lambda: model(batch))]
        while len(seconds) < 3 and sum(seconds) < ENOUGH:
            seconds.append(self._seconds(lambda: model(batch)))
        rate = (before + self._rate(picture)) / 2
        return tally.total / 1e9, median(seconds), rate

    def layers(self, regions: int, rounds: int = 5) -> Layers:
        """fc6 and fc7 of all regions of a picture, whole and truncated in turn."""
        heads = [self.models[part].head for part in ("fast", "svd")]
        pooled = torch.randn(regions, self.models["fast"].backbone.channels, 7, 7)
        pooled = pooled.contiguous(memory_format=torch.channels_last)
        times = [[self._seconds(partial(head.vectors, pooled)) for head in heads] for _ in range(1 + rounds)]
        whole, truncated = (1000 * median(column[1:]) for column in zip(*times, strict=True))
        counts = [parameters(head.layers) for head in heads]
        return Layers((counts[0], counts[1]), (whole, truncated))

    def _batch(self, part: str, picture: UInt8[np.ndarray, "H W 3"], boxes: Float[np.ndarray, "P 4"]) -> Batch:
        """The picture with exactly these regions: more places than regions would be work that is not counted."""
        detector = self.detectors[part]
        detector.proposer = Proposer("fast", len(boxes))
        return detector.batch_of(picture, boxes)

    def _rate(self, picture: UInt8[np.ndarray, "H W 3"]) -> float:
        """Billions of multiply-adds a second in VGG16's convolutions of the whole picture."""
        model, images = self.models["fast"], self.detectors["fast"].batch_of(picture).images
        with counting(model) as tally:
            seconds = self._seconds(lambda: model.features(images))
        return tally.total / 1e9 / seconds

    @torch.inference_mode()
    def _seconds(self, work: Callable[[], object]) -> float:
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):  # anew each time, as in prediction
            work()
        return time.perf_counter() - began


def summaries(rows: Sequence[Row]) -> dict[str, Summary]:
    """Each method over its pictures, in the order of PARTS; ratios over the pictures that R-CNN was measured on."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.part].append(row)
    slow = {row.picture: row for row in found.get("rcnn", [])}
    return {part: _summary(found[part], slow) for part in PARTS if part in found}


def _summary(rows: Sequence[Row], slow: dict[int, Row]) -> Summary:
    pairs = [(slow[row.picture], row) for row in rows if row.picture in slow]
    ratios = [(a.seconds / b.seconds, a.gmac / b.gmac) for a, b in pairs]
    return Summary(
        median(row.gmac for row in rows),
        median(row.seconds for row in rows),
        median(row.gmac / row.seconds for row in rows),
        median(row.share for row in rows),
        median(measured for measured, _ in ratios) if ratios else None,
        median(predicted for _, predicted in ratios) if ratios else None,
        median(measured / predicted for measured, predicted in ratios) if ratios else None,
    )


def table(rows: Sequence[Row], layers: Layers | None) -> str:
    """What is printed."""
    lines = [f"{'':17} {'GMAC':>9} {'s':>9} {'GMAC/s':>7} {'share':>6}   R-CNN / it: measured  predicted  quotient"]
    for part, one in summaries(rows).items():
        line = f"{PARTS[part]:17} {one.gmac:9.1f} {one.seconds:9.3f} {one.gmac_per_second:7.1f} {one.share:6.2f}"
        if one.quotient is not None:
            line += f"   {one.measured_ratio:20.1f} {one.predicted_ratio:10.1f} {one.quotient:9.2f}"
        lines.append(line)
    if counts := sorted({row.measured for row in rows if row.part == "rcnn"}):
        lines.append(f"R-CNN's regions that were measured, a picture: {', '.join(map(str, counts))}; scaled to all")
    if layers:
        (whole, left), (slow, quick) = layers.parameters, layers.milliseconds
        lines.append(f"fc6 and fc7, ranks {RANKS}: {whole:,} to {left:,} parameters, {slow:.0f} to {quick:.0f} ms")
    return "\n".join(lines)


class Report:
    """What is measured so far, on disk if there is a file for it."""

    def __init__(self, path: Path | None, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, settings
        self.rows: list[Row] = []
        self.layers: Layers | None = None
        if path and path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            kept = json.loads(path.read_text("utf-8"))
            self.rows = [Row(**row) for row in kept["rows"]]
            self.layers = Layers(**{k: tuple(v) for k, v in kept["layers"].items()}) if kept["layers"] else None
            settings = kept["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise SystemExit(f"{path}: no report of this benchmark ({error}); pass another --json") from error
        other = [key for key, value in self.settings.items() if settings.get(key) != value]
        if other:
            key = other[0]
            raise SystemExit(
                f"{path}: measured with {key} {settings.get(key)}, not {self.settings[key]}; pass another --json"
            )

    def has(self, part: str, picture: int, measured: int) -> bool:
        """Whether a method was measured on so many regions of a picture."""
        return any((row.part, row.picture, row.measured) == (part, picture, measured) for row in self.rows)

    def add(self, row: Row) -> None:
        """Take a row in the place of an older one, and write all."""
        self.rows = [old for old in self.rows if (old.part, old.picture) != (row.part, row.picture)] + [row]
        self.save()

    def save(self) -> None:
        """Write all of it."""
        if self.path:
            content = {
                "settings": self.settings,
                "summary": {part: asdict(one) for part, one in summaries(self.rows).items()},
                "rows": [asdict(row) for row in self.rows],
                "layers": asdict(self.layers) if self.layers else None,
            }
            write_text(self.path, json.dumps(content, indent=1))


def machine(threads: int) -> dict[str, Any]:
    """What the numbers depend on."""
    lines = info.read_text("utf-8").splitlines() if (info := Path("/proc/cpuinfo")).is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "torch": torch.__version__,
    }


def commit() -> str:
    """The state of the code."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    git = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return git.stdout.strip() or "unknown"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=3)
    parser.add_argument("--images", type=Path, nargs="+", default=[], help="pictures to take instead of made-up ones")
    parser.add_argument("--proposals", type=int, default=2000, help="regions a picture")
    parser.add_argument("--rcnn-proposals", type=int, help="run R-CNN on so many of them only, and scale its figures")
    parser.add_argument("--size", type=int, default=600, help="short side, but for SPPnet, which has its own")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--parts", default=",".join(PARTS), help="which methods, %(default)s")
    parser.add_argument("--json", type=Path, help="write all figures to this file, and go on from those in it")
    args = parser.parse_args()
    args.parts = args.parts.split(",")
    if unknown := sorted(set(args.parts) - set(PARTS)):
        parser.error(f"--parts: {unknown[0]} is none of {', '.join(PARTS)}")
    if min(args.pictures, args.proposals, args.size, args.threads, args.rcnn_proposals or 1) < 1:
        parser.error("numbers must be 1 or more")
    return args


def main() -> None:
    """Measure and print."""
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    where = machine(args.threads)
    asked = {"proposals": args.proposals, "size": args.size, "precision": args.precision}
    report = Report(args.json, {**where, **asked, "images": [str(path) for path in args.images]})
    print(json.dumps(where | {"commit": commit()}))
    pictures = [resolve(path) for path in args.images] or [made_up(n, args.size) for n in range(args.pictures)]
    run = Benchmark(args.parts, args.size, args.precision == "bf16")
    for number, picture in enumerate(pictures):
        boxes = regions(args.proposals, picture.shape[0], picture.shape[1], seed=number)
        for part in args.parts:
            measured = min(args.rcnn_proposals or len(boxes), len(boxes)) if part == "rcnn" else len(boxes)
            if report.has(part, number, measured):
                continue
            gmac, seconds, rate = run.measure(part, picture, boxes, measured)
            scale = len(boxes) / measured
            row = Row(part, number, gmac * scale, seconds * scale, rate, measured, commit())
            report.add(row)
            print(f"picture {number + 1}, {PARTS[part]}: {row.seconds:.2f} s, share {row.share:.2f}", flush=True)
    if "svd" in args.parts and report.layers is None:
        report.layers = run.layers(args.proposals)
        report.save()
    print(table(report.rows, report.layers))


if __name__ == "__main__":
    try:
        main()
    except RcnnError as error:
        raise SystemExit(error) from None
