"""What an exported file says of itself: one JSON text, whatever the format."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from rcnn.errors import WeightsError

if TYPE_CHECKING:
    from onnx import ModelProto

KEY = "rcnn"
Precision = Literal["fp32", "fp16", "bf16", "int8"]
Metadata = Mapping[str, Any]


def onnx_metadata(model: "ModelProto", name: str = "the model") -> dict[str, Any]:
    """What an ONNX detector says of itself; raises WeightsError for a model that is none."""
    text = next((entry.value for entry in model.metadata_props if entry.key == KEY), None)
    if text is None:
        raise WeightsError(f"{name}: an ONNX model, but no detector of this library; make one with rcnn export")
    return json.loads(text)


def with_precision(metadata: Metadata, precision: Precision) -> dict[str, Any]:
    """The same metadata for a file of another precision."""
    return {**metadata, "precision": precision}


def put_onnx_metadata(model: "ModelProto", metadata: Metadata) -> None:
    """Let an ONNX model say this of itself and nothing else."""
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=json.dumps(metadata))
