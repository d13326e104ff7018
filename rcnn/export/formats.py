"""The engines' formats that an ONNX detector can become, behind the same few functions."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rcnn.export.canvases import Arrays
from rcnn.export.contract import Run
from rcnn.export.engines import run_onnx, run_openvino
from rcnn.export.half import to_half
from rcnn.export.int8_onnx import OnnxInt8
from rcnn.export.int8_openvino import OpenVINOInt8
from rcnn.export.metadata import Metadata
from rcnn.export.onnx import with_outputs, write_onnx
from rcnn.export.openvino import only_outputs, to_openvino, write_openvino

if TYPE_CHECKING:
    from onnx import ModelProto

Model = Any
"""A model of the engine's own kind."""


class Quantiser(Protocol):
    """A detector whose parts can be put into 8 bits, all but those that are kept."""

    parts: tuple[str, ...]

    def quantised(self, kept: Collection[str] = ()) -> Model:
        """The detector in 8 bits but for the parts `kept`."""


@dataclass(frozen=True)
class EngineFormat:
    """What can be done with a detector for one engine; a model has all stages as outputs until it is `finished`."""

    suffix: str
    convert: Callable[["ModelProto"], Model]
    half: Callable[[Model], Model]
    quantiser: Callable[["ModelProto", Iterable[Arrays]], Quantiser]
    run: Callable[[Model], Run]
    finished: Callable[[Model], Model]
    """The model whose outputs are the detections alone."""
    write: Callable[[Model, Path, Metadata], None]


ENGINE_FORMATS = {
    "onnx": EngineFormat(
        suffix=".onnx",
        convert=lambda model: model,
        half=to_half,
        quantiser=OnnxInt8,
        run=run_onnx,
        finished=with_outputs,
        write=write_onnx,
    ),
    "openvino": EngineFormat(
        suffix=".xml",
        convert=to_openvino,
        half=lambda model: model,  # its weights are stored in 16 bits, and computed with in what the processor does best
        quantiser=OpenVINOInt8,
        run=run_openvino,
        finished=only_outputs,
        write=write_openvino,
    ),
}
