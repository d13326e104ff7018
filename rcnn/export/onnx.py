"""From a program to an ONNX model, with this library's operators in those of ONNX."""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch.export import ExportedProgram

from rcnn.export.graph import DETECTIONS
from rcnn.export.onnx_operators import translations
from rcnn.runtime import METADATA

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
"""The first whose operators need no help from a later one: RoiAlign with half pixels came with 16, Pad of axes with 18."""


def to_onnx(program: ExportedProgram) -> "ModelProto":
    """The ONNX model of a program, its inputs and outputs under their names."""
    import torch

    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    made = torch.onnx.export(
        program,
        (),
        input_names=names,
        output_names=_output_names(program),
        custom_translation_table=dict(translations()),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert made is not None
    return made.model_proto


def _output_names(program: ExportedProgram) -> list[str]:
    """The keys of the dictionary that a graph returns."""
    spec = program.call_spec.out_spec
    assert spec is not None
    return list(spec.context)


def with_outputs(model: "ModelProto", names: Iterable[str] = DETECTIONS) -> "ModelProto":
    """A model that gives fewer of its outputs; the order is that of `names`."""
    from onnx import ModelProto

    fewer, by_name = ModelProto(), {output.name: output for output in model.graph.output}
    fewer.CopyFrom(model)
    del fewer.graph.output[:]
    fewer.graph.output.extend(by_name[name] for name in names)
    return fewer


def with_metadata(model: "ModelProto", metadata: Mapping[str, Any]) -> "ModelProto":
    """The model with what its user must know of it, as one JSON text."""
    from onnx.helper import set_model_props

    set_model_props(model, {METADATA: json.dumps(metadata)})
    return model
