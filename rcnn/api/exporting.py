"""From a run to a file for another engine, which is written only after it has proved to answer alike."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rcnn.api.export_data import TOGETHER, ExportInputs, Scorer, opened, original_cases
from rcnn.api.export_metadata import described
from rcnn.api.saving import LoadedModel, read_whole
from rcnn.backbones import settle_norms
from rcnn.errors import ConfigError
from rcnn.export.contract import (
    TIED,
    TOLERANCES,
    Case,
    Nearness,
    Original,
    Run,
    Tolerance,
    cases_of,
    hold,
    hold_file,
    single_cases,
)
from rcnn.export.engines import as_tensors, openvino_has_bf16, run_program, seconds_each
from rcnn.export.graph import Graph, set_limits
from rcnn.export.metadata import put_onnx_metadata
from rcnn.export.placing import put
from rcnn.export.plan import DEFAULT, Plan, refuse, refuse_existing
from rcnn.export.program import DynamicShapes, export_program
from rcnn.export.sensitivity import BOUND, Kept, keep_sensitive
from rcnn.heads.roi import RoIMaxPool
from rcnn.heads.spp import SPPPool
from rcnn.methods import RCNN

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch.export import ExportedProgram

    from rcnn.export.formats import EngineFormat


@dataclass(frozen=True)
class Exported:
    """What was written, and how near it comes to the original."""

    path: Path
    nearness: Nearness
    cases: tuple[str, ...]
    seconds: Mapping[str, float]
    """A picture, in the original and in the exported file."""
    kept: Kept[Any] | None = None
    """With pictures to evaluate on: AP in points of both precisions, and what stayed in floating point."""


def export(
    run: Path | str,
    out: Path | str,
    plan: Plan = DEFAULT,
    *,
    weights: Path | str | None = None,
    pictures: Sequence[Path] = (),
    calibration: Path | str | None = None,
    evaluation: Path | str | None = None,
    evaluation_split: str = "val",
    points: float = BOUND,
    overwrite: bool = False,
    tell: Callable[[str], object] = lambda line: None,
) -> Exported:
    """Write the detector of a run, or of `LIBRARY:NAME`, as a file for ONNX Runtime, OpenVINO or torch.

    `pictures` are looked at by both, the original and the file, before it is written; without, made-up ones are. int8
    is calibrated on the training pictures of the data set `calibration`; with the data set `evaluation`, layers stay in
    floating point until at most `points` of AP are lost there. Raises ConfigError for what does not go together, and
    DisagreementError where the file would not answer alike; nothing is then written.
    """
    path = Path(out)
    refuse(plan, path, calibration, evaluation)
    refuse_existing(plan, path, overwrite)
    loaded = read_whole(run, torch.device("cpu"), weights)
    settle_norms(loaded.detector.model)
    set_limits(loaded.detector.model, plan.score, plan.nms, plan.detections)  # type: ignore[arg-type]
    folder = Path(run) if Path(run).is_dir() else None
    work = _Export(loaded, plan, ExportInputs(loaded.detector, plan.kind, folder), pictures, tell)
    if plan.format == "torch":
        return work.as_program(path)
    return work.as_model(path, calibration, evaluation, evaluation_split, points)


@dataclass
class _Export:
    """A detector on its way to a file."""

    loaded: LoadedModel
    plan: Plan
    inputs: ExportInputs
    pictures: Sequence[Path]
    tell: Callable[[str], object]

    def __post_init__(self) -> None:
        detector = self.loaded.detector
        if isinstance(detector.model, RCNN):
            raise ConfigError(
                "R-CNN: sends thousands of crops through its network, some at a time, which no graph of fixed shape "
                "does; export a Fast or Faster R-CNN"
            )
        if detector.proposer is not None and self.plan.kind == "picture":
            raise ConfigError("--with-resize: this method needs regions from outside, in pixels of the canvas")
        self.canvases = self.inputs.canvases(self.pictures)
        self.graph = self._graph(with_stages=True)
        self.original = Original(self.graph)
        self.metadata = described(self.loaded, self.plan)

    def as_program(self, path: Path) -> Exported:
        """A program of torch.export."""
        from rcnn.export.torch_program import write_program

        cases = cases_of(self.canvases, self.plan.batch)
        nearness = self._held(run_program(self._program(self.graph)), cases)
        program = self._program(self._graph(with_stages=False))
        seconds = self._placed(path, cases, lambda place: write_program(program, place, self.metadata))
        return Exported(path, nearness, _names(cases), seconds)

    def as_model(
        self, path: Path, calibration: Path | str | None, evaluation: Path | str | None, split: str, points: float
    ) -> Exported:
        """A file for an engine, by way of ONNX."""
        from rcnn.export.formats import ENGINE_FORMATS

        form = ENGINE_FORMATS[self.plan.format]
        quantised = self._quantised(form, calibration, evaluation, split, points) if calibration else None
        onnx, kept = self._onnx(), None
        if quantised:
            made, kept = quantised(onnx)
        else:
            made = (form.half if self.plan.precision == "fp16" else form.convert)(onnx)
        if self.plan.precision == "bf16" and not openvino_has_bf16():
            self.tell("this processor has no bf16: the file computes in fp32 here, and what is told of it is of fp32")
        cases = self._cases()
        nearness = self._held(form.run(made, self.plan.precision), cases)
        finished, half = form.finished(made), self.plan.precision in ("fp16", "bf16")
        seconds = self._placed(path, cases, lambda place: form.write(finished, place, self.metadata, half))
        return Exported(path, nearness, _names(cases), seconds, kept)

    def _quantised(
        self,
        form: "EngineFormat",
        calibration: Path | str,
        evaluation: Path | str | None,
        split: str,
        points: float,
    ) -> Callable[["ModelProto"], tuple[Any, Kept[Any] | None]]:
        """What puts a model into 8 bits; its data is looked at before, so that what is wrong there is told first."""
        samples = self.inputs.calibration(calibration)
        scorer = Scorer(self.inputs, form, self.metadata, evaluation, split, self.tell) if evaluation else None

        def quantise(onnx: "ModelProto") -> tuple[Any, Kept[Any] | None]:
            self.tell(f"calibrating 8 bits on {len(samples)} pictures")
            quantiser = form.quantiser(onnx, self.inputs.feeds(samples, self.plan.batch))
            if not scorer:
                return quantiser.quantised(), None
            full = scorer(form.convert(onnx))
            kept = keep_sensitive(quantiser.parts, quantiser.quantised, scorer, full, points)
            return kept.model, kept

        return quantise

    def _placed(self, path: Path, cases: Sequence[Case], write: Callable[[Path], None]) -> dict[str, float]:
        """Write a file under another name, let it answer as its users will, and only then give it its own."""
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            place = Path(folder) / path.name
            write(place)
            run = opened(place)
            hold_file(self.original, run, cases, self._tolerance())
            seconds = self._seconds(run, cases)
            del run  # its files are open
            put(place, path)
        return seconds

    def _cases(self) -> list[Case]:
        if self.plan.kind != "picture":
            return cases_of(self.canvases, self.plan.batch)
        own, given = original_cases(self.inputs, self.pictures)
        return single_cases(own, given)

    def _onnx(self) -> "ModelProto":
        from rcnn.export.onnx import to_onnx
        from rcnn.export.resizing import with_resize

        model = to_onnx(self._program(self.graph))
        if self.plan.kind == "picture":
            model = with_resize(model, self.loaded.detector.preprocess)
        put_onnx_metadata(model, self.metadata)
        return model

    def _program(self, graph: Graph) -> "ExportedProgram":
        batch = 1 if self.plan.kind == "picture" else self.plan.batch
        self.tell(f"tracing the network for {'any number of' if batch is None else batch} pictures on any canvas")
        places = [place % TOGETHER for place in range(batch or 2)]
        example = {name: array[places] for name, array in self.canvases[0].items()}
        step = 1 if self.loaded.detector.preprocess.bucket == "exact" else 32
        return export_program(graph, as_tensors(example), DynamicShapes(batch, step))

    def _graph(self, with_stages: bool) -> Graph:
        detector, normalised = self.loaded.detector, self.plan.kind != "uint8"
        most = -(-detector.proposer.most // 8) * 8 if detector.proposer else None  # as batches are filled up
        return Graph(detector.model, detector.preprocess, normalised, with_stages, most).eval()  # type: ignore[arg-type]

    def _held(self, run: Run, cases: Sequence[Case]) -> Nearness:
        self.tell(f"comparing stage by stage: {', '.join(_names(cases))}")
        nearness = hold(self.original, run, cases, self._tolerance())
        if not nearness.found:
            self.tell("nothing is found in these pictures, so no detections were compared; pass --pictures FILE")
        return nearness

    def _tolerance(self) -> Tolerance:
        tolerance = TOLERANCES[self.plan.precision]
        if isinstance(self.graph.model.pool, RoIMaxPool | SPPPool):
            return replace(tolerance, alike=min(TIED, tolerance.alike))
        return tolerance

    def _seconds(self, run: Run, cases: Sequence[Case]) -> dict[str, float]:
        """A picture in both, each as it is used, alone where the graph takes one alone."""
        case = min(cases, key=lambda case: len(case.own["sizes"]))
        batch, pictures = self.graph.batch(as_tensors(case.own)), len(case.own["sizes"])
        batch = replace(batch, images=batch.images.contiguous(memory_format=torch.channels_last))
        detector = self.loaded.detector
        original: Callable[[], object] = lambda: detector.detect(batch)  # noqa: E731
        if self.plan.kind == "picture":  # which is resized within that time
            original = lambda: list(detector.predict(case.given["images"]))  # noqa: E731
        times = seconds_each({"original": original, "exported": lambda: run(case.given)})
        return {name: seconds / pictures for name, seconds in times.items()}


def _names(cases: Sequence[Case]) -> tuple[str, ...]:
    return tuple(case.name for case in cases)
