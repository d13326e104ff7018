"""Which part of a detector each node of its ONNX graph is of: what may be in lower precision, and what not."""

import ast
import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from rcnn.errors import ConfigError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

FIRST = "first convolution"
PREDICTORS = ("RPN predictors", "predictors")
"""What says scores and boxes itself: little work, so that all of it stays in floating point unless told otherwise."""
_SCOPES = "pkg.torch.onnx.name_scopes"
_REDUCING = ("Conv", "MaxPool", "AveragePool")
_GROUPS = (
    (r"rpn\.head\.conv(\.|$)", "RPN convolutions"),
    (r"rpn\.head\.(cls_logits|bbox_pred)", "RPN predictors"),
    (r"head\.(cls_score|bbox_pred|svm|ridge)", "predictors"),
    (r"head\.layers\.(\w+)", r"\1"),
    (r"head\.(stage|convs)(\.|$)", "head's convolutions"),
    (r"backbone\.(.+\.)?fpn(\.|$)", "FPN"),
)
"""What a module's path begins with, and the group that it is of."""


def module_path(node: "NodeProto") -> str:
    """The module of the detector that a node was traced in, as `rpn.head.conv.0.0`; "" for what is in none.

    torch.onnx writes the modules around a node into its metadata: from the graph, which holds the detector as `model`,
    to the operator itself.
    """
    text = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "[]")
    *modules, _ = ["", *ast.literal_eval(text)][-2:]
    return "".join(modules).removeprefix("model").removeprefix(".")


def groups(model: "ModelProto") -> dict[str, tuple[str, ...]]:
    """The names of the nodes of each part that is layers, by the part's name, in the graph's order.

    The parts: the first convolution; the backbone at each stride; the FPN; the RPN's convolutions and predictors; the
    head's convolutions and fully connected layers, one by one; its predictors. A node that is in none of them is
    arithmetic of boxes and scores: anchors, decoding, NMS, pooling. Raises ConfigError for a graph without any layer.
    """
    found: dict[str, list[str]] = {}
    strides = _strides(model)
    first = next((node.name for node in model.graph.node if node.op_type == "Conv"), None)
    for node in model.graph.node:
        path = module_path(node)
        name = FIRST if node.name == first else _fixed_group(path) or _stage(path, strides)
        if name:
            found.setdefault(name, []).append(node.name)
    if not found:
        raise ConfigError("the graph names no layers of a detector; export it with rcnn export, in fp32")
    return {name: tuple(nodes) for name, nodes in found.items()}


def nodes_of(parts: Mapping[str, Collection[str]], names: Iterable[str]) -> list[str]:
    """The nodes of some parts; raises ConfigError for a name that is no part's."""
    for name in (chosen := list(names)):
        if name not in parts:
            raise ConfigError(f"'{name}': no part of this detector; it has {', '.join(parts)}")
    return [node for name in chosen for node in parts[name]]


def others(model: "ModelProto", nodes: Collection[str]) -> list[str]:
    """The names of all other nodes."""
    inside = set(nodes)
    return [node.name for node in model.graph.node if node.name not in inside]


def _fixed_group(path: str) -> str | None:
    for pattern, name in _GROUPS:
        if match := re.match(pattern, path):
            return match.expand(name)
    return None


def _strides(model: "ModelProto") -> dict[str, int]:
    """For each layer of the backbone, outermost modules in the graph's order, the stride at which it gives its map."""
    strides: dict[str, int] = {}
    layers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        if layer := _layer(module_path(node)):
            layers.setdefault(layer, []).append(node)
    stride = 1
    for layer, nodes in layers.items():
        stride *= max(_stride(node) for node in nodes)
        strides[layer] = stride
    return strides


def _stage(path: str, strides: Mapping[str, int]) -> str | None:
    layer = _layer(path)
    return f"backbone at stride {strides[layer]}" if layer else None


def _layer(path: str) -> str | None:
    """The outermost layer of the backbone's network, `backbone.body.3` or `backbone.network.body.layer1`."""
    match = None if _fixed_group(path) else re.match(r"backbone\.(.+?\.)?body\.[^.]+", path)
    return match[0] if match else None


def _stride(node: "NodeProto") -> int:
    strides = next((entry.ints for entry in node.attribute if entry.name == "strides"), [1])
    return max(strides) if node.op_type in _REDUCING else 1
