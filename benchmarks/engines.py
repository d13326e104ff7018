"""One trained detector in the engines that an exported file runs in: accuracy, speed and size in one table.

usage: python benchmarks/engines.py RUN MODEL.onnx DATA [--pictures N] [--calibration 100] [--threads 1] [--json FILE]
       [--markdown FILE]

MODEL.onnx is RUN as `rcnn export` writes it, in fp32. Each picture of the test split goes through every way in turn,
from its pixels to detections in its pixels, so that what disturbs the machine disturbs all.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import onnx
import onnxruntime
import openvino
import torch

import rcnn
from rcnn.api.data import read_data, with_splits_of
from rcnn.api.export_data import ExportInputs
from rcnn.api.measuring import evaluation_samples
from rcnn.bench.machine import this_machine
from rcnn.data.picture import resolve
from rcnn.evaluation import evaluate
from rcnn.export.formats import ENGINE_FORMATS
from rcnn.export.half_onnx import halved
from rcnn.export.metadata import Precision, onnx_metadata, with_precision
from rcnn.inference.predictor import Detector
from rcnn.runs import RunFolder, write_text
from rcnn.sample import Sample
from rcnn.structures import Detections
from rcnn.training.session import computes_bf16

CPU = torch.device("cpu")
NO_BF16 = "this processor has no instructions for bf16"
ENGINES = {"onnx": "ONNX Runtime", "openvino": "OpenVINO"}


@dataclass
class Way:
    """One way to detect, or why there is none on this machine; and what was measured of it."""

    engine: str
    precision: Precision
    detector: Detector | None = None
    size: int = 0
    """Bytes of its files."""
    note: str = ""
    found: list[Detections] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def look(self, sample: Sample) -> None:
        """Detect in a picture, and keep what is found and how long that took."""
        if self.detector is not None:
            began = time.perf_counter()
            self.found += self.detector.predict([sample.picture])
            self.seconds.append(time.perf_counter() - began)


def library_ways(run: Path) -> list[Way]:
    """The library itself."""
    size = RunFolder(run).best.stat().st_size
    whole = Way("rcnn", "fp32", rcnn.load(run, device="cpu"), size)
    if not computes_bf16(CPU):
        return [whole, Way("rcnn", "bf16", note=NO_BF16)]
    return [whole, Way("rcnn", "bf16", rcnn.load(run, device="cpu", precision="bf16"), size)]


def exported_ways(model: onnx.ModelProto, inputs: ExportInputs, samples: Sequence[Sample], to: Path) -> Iterator[Way]:
    """Both engines in all precisions, each from a file as `rcnn export` writes it."""
    for name, engine in ENGINES.items():
        form = ENGINE_FORMATS[name]
        whole = form.convert(model)
        made: dict[Precision, Any] = {"fp32": whole, "fp16": halved(model) if name == "onnx" else whole}
        made["bf16"] = whole
        made["int8"] = form.quantiser(model, inputs.feeds(samples, None)).quantised()
        for precision, one in made.items():
            if precision == "bf16" and (name == "onnx" or not computes_bf16(CPU)):
                yield Way(engine, precision, note="it has no convolution in bf16" if name == "onnx" else NO_BF16)
                continue
            file = to / f"{precision}{form.suffix}"
            form.write(one, file, with_precision(onnx_metadata(model), precision), precision in ("fp16", "bf16"))
            size = sum(part.stat().st_size for part in {file, file.with_suffix(".bin")} if part.exists())
            yield Way(engine, precision, rcnn.load(file), size)


def measure(ways: Sequence[Way], samples: Sequence[Sample]) -> None:
    """Every way on every picture, in turn; the first picture comes once more before, to warm up."""
    for sample in [samples[0], *samples]:
        for way in ways:
            way.look(sample)
    for way in ways:
        del way.found[:1], way.seconds[:1]


def row(way: Way, samples: Sequence[Sample], class_names: tuple[str, ...]) -> dict[str, Any]:
    """What was measured: AP and AP50 in points, milliseconds a picture, megabytes."""
    numbers: dict[str, float | None] = dict.fromkeys(("AP", "AP50", "ms", "MiB"))
    if way.found:
        metrics = evaluate(samples, way.found, class_names, "coco").metrics
        numbers = {key: 100 * metrics[key] for key in ("AP", "AP50")}
        numbers |= {"ms": 1000 * median(way.seconds), "MiB": way.size / 2**20}
    return {"engine": way.engine, "precision": way.precision, **numbers, "note": way.note}


def table(rows: Sequence[dict[str, Any]], title: str) -> str:
    """The rows in Markdown."""
    lines = [title, "", "| engine | precision | AP | AP50 | ms a picture | MiB | |", "|---|---|---|---|---|---|---|"]
    for one in rows:
        cells = ["-" if one[key] is None else f"{one[key]:.1f}" for key in ("AP", "AP50", "ms", "MiB")]
        lines.append(f"| {one['engine']} | {one['precision']} | {' | '.join(cells)} | {one['note']} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    words = arguments()
    torch.set_num_threads(words.threads)
    detector = rcnn.load(words.run, device="cpu")
    inputs = ExportInputs(detector, "uint8", words.run)
    dataset = with_splits_of(RunFolder(words.run), read_data(words.data, "drop"))
    samples = [_decoded(one) for one in evaluation_samples(detector, dataset, "test", words.run)[: words.pictures]]
    calibration = list(islice(inputs.calibration(words.data), words.calibration))
    with tempfile.TemporaryDirectory() as folder:
        ways = library_ways(words.run)
        ways += exported_ways(onnx.load(words.model), inputs, calibration, Path(folder))
        measure(ways, samples)
    rows = [row(way, samples, detector.class_names) for way in ways]
    machine = this_machine(CPU)
    versions = {"onnxruntime": onnxruntime.__version__, "openvino": openvino.__version__.split("-")[0]}
    engines = ", ".join(f"{name} {version}" for name, version in versions.items())
    text = table(rows, f"{machine.title}, {engines}; threads: {words.threads}; test pictures: {len(samples)}")
    print(text)
    if words.markdown:
        write_text(words.markdown, text)
    if words.json:
        report = {"machine": asdict(machine) | {"engines": versions}, "pictures": len(samples), "rows": rows}
        write_text(words.json, json.dumps(report, indent=2) + "\n")


def _decoded(sample: Sample) -> Sample:
    """The sample with its picture in memory, so that decoding is not timed."""
    return replace(sample, picture=resolve(sample.picture))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", type=int, help="of the test split, from its first; all without it")
    parser.add_argument("--calibration", type=int, default=100, help="pictures of the training split, at most 100")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
