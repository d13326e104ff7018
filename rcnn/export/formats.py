"""The engines' formats that an ONNX detector can become, behind the same few functions."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from rcnn.export.contract import Run
from rcnn.export.engines import run_onnx, run_openvino
from rcnn.export.feeds import Feeds
from rcnn.export.half_onnx import halved
from rcnn.export.int8_onnx import OnnxInt8
from rcnn.export.int8_openvino import OpenVINOInt8
from rcnn.export.metadata import Metadata, Precision
from rcnn.export.onnx import with_outputs, write_onnx
from rcnn.export.openvino import only_outputs, to_openvino, write_openvino

if TYPE_CHECKING:
    from onnx import ModelProto

Model = Any
"""A model of the engine's own kind."""


@runtime_checkable
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
    half: Callable[["ModelProto"], Model]
    quantiser: Callable[["ModelProto", Feeds], Quantiser]
    run: Callable[[Model, Precision], Run]
    finished: Callable[[Model], Model]
    """The model whose outputs are the detections alone."""
    write: Callable[[Model, Path, Metadata, bool], None]
    """The last argument: whether weights are stored in 16 bits, where the model itself does not say so."""


ENGINE_FORMATS = {
    "onnx": EngineFormat(".onnx", lambda model: model, halved, OnnxInt8, run_onnx, with_outputs, write_onnx),
    # OpenVINO keeps weights in 16 bits, and computes in what the processor does best.
    "openvino": EngineFormat(
        ".xml", to_openvino, to_openvino, OpenVINOInt8, run_openvino, only_outputs, write_openvino
    ),
}
