"""Graphs in the engines that run them, while they are being made: for the contract test and for measuring."""

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rcnn.export.canvases import Arrays
from rcnn.export.contract import Run
from rcnn.export.metadata import Precision
from rcnn.runtime import openvino_core

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch.export import ExportedProgram

ROUNDS = 5


def run_onnx(model: "ModelProto", precision: Precision = "fp32") -> Run:
    """An ONNX model in ONNX Runtime, which computes in the types that it finds, on as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda arrays: dict(zip(names, session.run(names, dict(arrays)), strict=True))


def run_openvino(model: Any, precision: Precision = "fp32") -> Run:
    """An OpenVINO model on the CPU, in bf16 if `precision` says so, else in fp32 (and 8 bits) on any processor."""
    import openvino

    hint = "bf16" if precision == "bf16" else "f32"
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": hint}
    compiled = openvino_core(openvino).compile_model(model, "CPU", settings)
    return lambda arrays: {output.any_name: values for output, values in compiled(dict(arrays)).items()}


def openvino_has_bf16() -> bool:
    """Whether OpenVINO computes in bf16 on this processor: where it does not, it takes fp32 without a word."""
    import openvino

    return "BF16" in openvino_core(openvino).get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def run_program(program: "ExportedProgram") -> Run:
    """A program of torch.export as it is."""
    module = program.module()

    def run(arrays: Arrays) -> Arrays:
        with torch.inference_mode():
            found = module(**{name: torch.from_numpy(array) for name, array in arrays.items()})
        return {name: tensor.numpy() for name, tensor in found.items()}

    return run


def seconds_each(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The median seconds of each way to do the same, which take turns; the first round of each does not count."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS + 1):
        for name, way in ways.items():
            start = perf_counter()
            way()
            times[name].append(perf_counter() - start)
    return {name: float(median(rounds[1:])) for name, rounds in times.items()}


def as_tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    """The same values for torch."""
    return {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}
