"""An ONNX detector whose layers have weights, and compute, in 16 bits: half the size."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rcnn.errors import ConfigError
from rcnn.export.layers import PREDICTORS, groups, nodes_of, others
from rcnn.export.metadata import onnx_metadata, put_onnx_metadata, with_precision

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto


def halved(model: "ModelProto") -> "ModelProto":
    """The same detector with fp16 in its layers; inputs, outputs, scores and the arithmetic of boxes stay fp32.

    ONNX Runtime's converter does the work. It rounds each value between two nodes that stay in fp32 as well, which
    would move boxes beyond 512 by up to a quarter of a pixel; those roundings are taken out again. Raises ConfigError
    where there are no layers.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    parts = groups(model)
    layers = nodes_of(parts, [part for part in parts if part not in PREDICTORS])
    floating = others(model, layers)
    copy = type(model)()
    copy.CopyFrom(model)
    _unshare(copy, set(layers))
    made = convert_float_to_float16(copy, keep_io_types=True, op_block_list=[], node_block_list=floating)
    _spare_roundings(made)
    OnnxModel(made).topological_sort()  # the converter puts its casts at the end
    put_onnx_metadata(made, with_precision(onnx_metadata(model), "fp16"))
    return made


def refuse_bf16() -> None:
    """Raise ConfigError: why no ONNX file is made in bf16."""
    raise ConfigError(
        "bf16: ONNX Runtime has no convolution in bf16 for processors; pass --half for fp16, or --format openvino, "
        "which computes in bf16 where the processor can"
    )


def _unshare(model: "ModelProto", layers: set[str]) -> None:
    """Give layers their own copies of the constants that they share with the arithmetic of boxes."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    elsewhere = {name for node in model.graph.node if node.name not in layers for name in node.input}
    made: dict[str, TensorProto] = {}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if node.name in layers and name in constants and name in elsewhere:
                if name not in made:
                    made[name] = model.graph.initializer.add()
                    made[name].CopyFrom(constants[name])
                    made[name].name = f"{name}.of_layers"
                node.input[place] = made[name].name


def _spare_roundings(model: "ModelProto") -> None:
    """Where fp32 was made fp16 and at once fp32 again, take the value of before; drop the casts that nobody reads."""
    from onnx import TensorProto

    rounded = {node.output[0]: node.input[0] for node in model.graph.node if _casts(node, TensorProto.FLOAT16)}
    for node in model.graph.node:
        if _casts(node, TensorProto.FLOAT) and node.input[0] in rounded:
            node.input[0] = rounded[node.input[0]]
            node.op_type = "Identity"
            del node.attribute[:]
    read = _names(model)
    idle = [node for node in model.graph.node if _casts(node, TensorProto.FLOAT16) and node.output[0] not in read]
    for node in idle:
        model.graph.node.remove(node)


def _casts(node: "NodeProto", kind: int) -> bool:
    return node.op_type == "Cast" and any(entry.name == "to" and entry.i == kind for entry in node.attribute)


def _names(model: "ModelProto") -> set[str]:
    inputs: Iterable[str] = (name for node in model.graph.node for name in node.input)
    return {*inputs, *(output.name for output in model.graph.output)}
