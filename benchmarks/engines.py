"""One trained detector in the engines that an exported file runs in: accuracy, speed and size in one table.

usage: python benchmarks/engines.py RUN MODEL.onnx DATA [--pictures N] [--calibration 100] [--search N] [--bound 0.5]
       [--threads 1] [--json FILE] [--markdown FILE]

MODEL.onnx is RUN as `rcnn export --format onnx` writes it, in fp32. Each picture of the test split goes through every
way in turn, from its pixels to detections in its pixels, so that what disturbs the machine disturbs all. Parts that do
not bear 8 bits are looked for on --search pictures of the validation split (0: none is looked for).
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import torch
from torch.nn import functional

import rcnn
from rcnn.api.data import read_data, with_splits_of
from rcnn.api.measuring import evaluation_samples
from rcnn.bench.machine import this_machine
from rcnn.data import samples_of
from rcnn.data.picture import resolve
from rcnn.data.preprocess import Preprocess
from rcnn.evaluation import evaluate
from rcnn.export.half_onnx import halved
from rcnn.export.int8_onnx import OnnxInt8
from rcnn.export.int8_openvino import OpenVINOInt8
from rcnn.export.metadata import onnx_metadata, with_precision
from rcnn.export.openvino import to_openvino, write_openvino
from rcnn.export.sensitivity import BOUND, keep_sensitive
from rcnn.inference.predictor import Detector
from rcnn.runs import RunFolder, write_text
from rcnn.sample import Sample
from rcnn.structures import Detections
from rcnn.training.session import computes_bf16

CPU = torch.device("cpu")
OUTPUTS = ("boxes", "scores", "labels", "count")
Pixels = np.ndarray
Feed = dict[str, np.ndarray]
Run = Callable[[Feed], Sequence[np.ndarray]]
Find = Callable[[Pixels], Detections]


@dataclass(frozen=True)
class Way:
    """One way to detect, or why there is none on this machine."""

    engine: str
    precision: str
    find: Find | None = None
    size: int = 0
    """Bytes of its files."""
    note: str = ""


@dataclass
class Row:
    """What was measured of a way; AP and AP50 in points."""

    engine: str
    precision: str
    ap: float | None = None
    ap50: float | None = None
    milliseconds: float | None = None
    megabytes: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Bench:
    """What all ways share."""

    preprocess: Preprocess
    class_names: tuple[str, ...]
    threads: int
    folder: Path
    calibration: Sequence[Sample] = field(default=())
    search: Sequence[Sample] = field(default=())
    bound: float = BOUND

    def feed(self, pixels: Pixels) -> Feed:
        """What an exported detector takes for a picture: its canvas, in bytes, and its sizes."""
        size = self.preprocess.resized(pixels.shape[:2])
        image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float()
        shrunk = functional.interpolate(image, size=size, mode="bilinear", align_corners=False)[0]
        canvas = np.zeros((1, *self.preprocess.canvas(size), pixels.shape[2]), np.uint8)
        canvas[0, : size[0], : size[1]] = shrunk.round().byte().permute(1, 2, 0).numpy()
        sizes = (np.array([each], np.int64) for each in (size, pixels.shape[:2]))
        return dict(zip(("images", "sizes", "original_sizes"), (canvas, *sizes), strict=True))

    def finder(self, run: Run) -> Find:
        """From pixels to detections by an engine."""

        def find(pixels: Pixels) -> Detections:
            boxes, scores, labels, count = (torch.from_numpy(np.array(each)) for each in run(self.feed(pixels)))
            found = int(count[0])
            return Detections(boxes[0, :found], scores[0, :found], labels[0, :found], self.class_names)

        return find

    def onnx_runtime(self, file: Path) -> Run:
        """ONNX Runtime on a file."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = self.threads, 3
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        return lambda feed: session.run(list(OUTPUTS), feed)

    def openvino(self, model: "openvino.Model | Path", hint: str = "f32") -> Run:
        """OpenVINO on a model or a file."""
        settings = {"INFERENCE_NUM_THREADS": self.threads, "INFERENCE_PRECISION_HINT": hint}
        compiled = openvino.Core().compile_model(model, "CPU", settings)
        return lambda feed: _outputs(compiled(feed))

    def points(self, find: Find, samples: Sequence[Sample]) -> float:
        """AP of a way on some samples, in points."""
        return (
            100 * evaluate(samples, [find(pixels_of(each)) for each in samples], self.class_names, "coco").metrics["AP"]
        )

    def chosen(self, int8: "OnnxInt8 | OpenVINOInt8", finder: Callable[[Any], Find], full: Any) -> tuple[Any, str]:
        """The detector in 8 bits, with what does not bear them left out, and a word on that."""
        if not self.search:
            return int8.quantised(), ""
        score = lambda model: self.points(finder(model), self.search)  # noqa: E731
        result = keep_sensitive(int8.parts, int8.quantised, score, score(full), self.bound)
        costs = ", ".join(f"{part} ({result.costs[part]:.1f})" for part in result.kept)
        return result.model, f"kept in fp32: {costs or 'nothing'}; lost on validation {result.lost:.2f}"


def _outputs(found: Any) -> list[np.ndarray]:
    return [found[name] for name in OUTPUTS]


def pixels_of(sample: Sample) -> Pixels:
    """A sample's picture."""
    return sample.picture if isinstance(sample.picture, np.ndarray) else resolve(sample.picture)


def library_ways(detector: Detector, file: Path) -> list[Way]:
    """The library itself."""
    whole = Way("rcnn", "fp32", lambda pixels: next(iter(detector.predict([pixels]))), file.stat().st_size)
    if not computes_bf16(CPU):
        return [whole, Way("rcnn", "bf16", note="this processor has no instructions for bf16")]
    rounding = rcnn.load(file.parent, device="cpu", precision="bf16")
    return [whole, Way("rcnn", "bf16", lambda pixels: next(iter(rounding.predict([pixels]))), whole.size)]


def onnx_ways(bench: Bench, model: onnx.ModelProto) -> list[Way]:
    """ONNX Runtime."""

    def way(precision: str, made: onnx.ModelProto, note: str = "") -> Way:
        file = bench.folder / f"{precision}.onnx"
        onnx.save(made, file)
        return Way("ONNX Runtime", precision, bench.finder(bench.onnx_runtime(file)), file.stat().st_size, note)

    def finder(made: onnx.ModelProto) -> Find:
        return way("trial", made).find  # type: ignore[return-value]

    int8 = OnnxInt8(model, (bench.feed(pixels_of(each)) for each in bench.calibration))
    chosen, note = bench.chosen(int8, finder, model)
    none = Way("ONNX Runtime", "bf16", note="ONNX Runtime has no convolution in bf16 for processors")
    return [way("fp32", model), way("fp16", halved(model)), none, way("int8", chosen, note)]


def openvino_ways(bench: Bench, model: onnx.ModelProto) -> list[Way]:
    """OpenVINO."""
    metadata = onnx_metadata(model)

    def way(precision: str, made: "openvino.Model", note: str = "") -> Way:
        file = bench.folder / f"{precision}.xml"
        write_openvino(made, file, with_precision(metadata, precision), half=precision in ("fp16", "bf16"))
        run = bench.openvino(file, "bf16" if precision == "bf16" else "f32")
        size = file.stat().st_size + file.with_suffix(".bin").stat().st_size
        return Way("OpenVINO", precision, bench.finder(run), size, note)

    whole = to_openvino(model)
    ways = [way("fp32", whole), way("fp16", whole)]
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        ways.append(way("bf16", whole))
    else:
        ways.append(Way("OpenVINO", "bf16", note="this processor has no instructions for bf16"))
    int8 = OpenVINOInt8(model, (bench.feed(pixels_of(each)) for each in bench.calibration))
    chosen, note = bench.chosen(int8, lambda made: bench.finder(bench.openvino(made)), whole)
    return [*ways, way("int8", chosen, note)]


def measured(bench: Bench, ways: Sequence[Way], samples: Sequence[Sample]) -> list[Row]:
    """Every way on every picture, in turn."""
    able = [way for way in ways if way.find]
    found: Mapping[int, list[Detections]] = {id(way): [] for way in able}
    seconds: Mapping[int, list[float]] = {id(way): [] for way in able}
    for place, sample in enumerate([samples[0], *samples]):
        pixels = pixels_of(sample)
        for way in able:
            began = time.perf_counter()
            detections = way.find(pixels)  # type: ignore[misc]
            if place:  # the first picture warms up
                seconds[id(way)].append(time.perf_counter() - began)
                found[id(way)].append(detections)
    rows = []
    for way in ways:
        row = Row(way.engine, way.precision, note=way.note)
        if way.find:
            metrics = evaluate(samples, found[id(way)], bench.class_names, "coco").metrics
            row.ap, row.ap50 = 100 * metrics["AP"], 100 * metrics["AP50"]
            row.milliseconds, row.megabytes = 1000 * median(seconds[id(way)]), way.size / 2**20
        rows.append(row)
    return rows


def table(rows: Sequence[Row], title: str) -> str:
    """The rows in Markdown."""
    lines = [title, "", "| engine | precision | AP | AP50 | ms a picture | MiB | |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        numbers = (row.ap, row.ap50, row.milliseconds, row.megabytes)
        cells = ["-" if number is None else f"{number:.1f}" for number in numbers]
        lines.append(f"| {row.engine} | {row.precision} | {' | '.join(cells)} | {row.note} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    words = arguments()
    torch.set_num_threads(words.threads)
    detector = rcnn.load(words.run, device="cpu")
    dataset = with_splits_of(RunFolder(words.run), read_data(words.data, "drop"))
    samples = evaluation_samples(detector, dataset, "test", words.run)[: words.pictures]
    model = onnx.load(words.model)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            detector.preprocess,
            detector.class_names,
            words.threads,
            Path(folder),
            samples_of(dataset, "train")[: words.calibration],
            samples_of(dataset, "val")[: words.search] if words.search else (),
            words.bound,
        )
        ways = library_ways(detector, RunFolder(words.run).best)
        rows = measured(bench, ways + onnx_ways(bench, model) + openvino_ways(bench, model), samples)
    machine = this_machine(CPU)
    versions = {"onnxruntime": onnxruntime.__version__, "openvino": openvino.__version__.split("-")[0]}
    engines = ", ".join(f"{name} {version}" for name, version in versions.items())
    text = table(rows, f"{machine.title}, {engines}; threads: {words.threads}; test pictures: {len(samples)}")
    print(text)
    if words.markdown:
        write_text(words.markdown, text)
    if words.json:
        report = {"machine": asdict(machine) | {"engines": versions}, "pictures": len(samples)}
        write_text(words.json, json.dumps(report | {"rows": [asdict(row) for row in rows]}, indent=2) + "\n")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", type=int, help="of the test split, from its first; all without it")
    parser.add_argument("--calibration", type=int, default=100, help="pictures of the training split")
    parser.add_argument("--search", type=int, default=0, help="pictures of the validation split")
    parser.add_argument("--bound", type=float, default=BOUND, help="points of AP that int8 may lose on them")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
