"""From a program to an ONNX model, with this library's operators in those of ONNX; and to a file."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.export import ExportedProgram

from rcnn.export.metadata import Metadata, put_onnx_metadata
from rcnn.export.onnx_operators import translations
from rcnn.runs import write_bytes
from rcnn.runtime import OUTPUTS

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
"""RoiAlign with half pixels came with 16, what torch.onnx writes of itself with 18."""


def to_onnx(program: ExportedProgram) -> "ModelProto":
    """The ONNX model of a program, its inputs and outputs under their names."""
    inputs = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    spec = program.call_spec.out_spec
    assert spec is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of what torch itself is about to drop
        made = torch.onnx.export(
            program,
            (),
            input_names=inputs,
            output_names=list(spec.context),  # the keys of the dictionary that a graph returns
            custom_translation_table=dict(translations()),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert made is not None
    return made.model_proto


def with_outputs(model: "ModelProto", names: Iterable[str] = OUTPUTS) -> "ModelProto":
    """A model that gives fewer of its outputs, in the order of `names`."""
    fewer, by_name = type(model)(), {output.name: output for output in model.graph.output}
    fewer.CopyFrom(model)
    del fewer.graph.output[:]
    fewer.graph.output.extend(by_name[name] for name in names)
    return fewer


def write_onnx(model: "ModelProto", path: Path, metadata: Metadata, half: bool = False) -> None:
    """Write a model, which says this of itself, whole or not at all; `half` is said by the model's own types."""
    put_onnx_metadata(model, metadata)
    write_bytes(path, model.SerializeToString())
