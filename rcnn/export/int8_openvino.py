"""An OpenVINO detector in 8 bits, by nncf: calibrated once, then with any of its parts back in floating point."""

import logging
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import numpy as np

from rcnn.errors import WeightsError, first_line
from rcnn.export.feeds import Feeds, refuse_none
from rcnn.export.layers import PREDICTORS, groups, nodes_of, others
from rcnn.export.openvino import layer_name, to_openvino

if TYPE_CHECKING:
    from onnx import ModelProto
    from openvino import Model, Node, Output


class OpenVINOInt8:
    """Weights of 8 bits a channel, activations of 8 bits, in the layers alone; boxes and scores stay as they are.

    `feeds` are calibrated on, which goes through them more than once; `always` are parts that no one shall put into 8
    bits. Raises ConfigError where there are no feeds or no layers, WeightsError where nncf fails.
    """

    def __init__(self, model: "ModelProto", feeds: Feeds, always: Collection[str] = PREDICTORS) -> None:
        refuse_none(feeds)
        self._groups = groups(model)
        self.parts = tuple(part for part in self._groups if part not in always)
        self.floating = _without_zero_scales(to_openvino(model))
        layers = nodes_of(self._groups, self.parts)
        self._whole = _quantised(self.floating, feeds, set(others(model, layers)), set(layers))
        self._originals = {node.get_friendly_name(): node for node in self.floating.get_ops()}

    def quantised(self, kept: Collection[str] = ()) -> "Model":
        """The detector in 8 bits but for the parts `kept`."""
        nodes = set(nodes_of(self._groups, kept))
        model = self._whole.clone()
        for node in model.get_ops():
            if layer_name(node.get_friendly_name()) in nodes:
                _restore(node, self._originals[node.get_friendly_name()])
        model.validate_nodes_and_infer_types()
        return model


def _quantised(model: "Model", feeds: Feeds, floating: set[str], layers: set[str]) -> "Model":
    os.environ.setdefault("NNCF_CI", "1")  # nncf would tell its makers of its use, over the network
    import nncf

    names = [node.get_friendly_name() for node in model.get_ops() if _is_work(node)]
    ignored = [name for name in names if layer_name(name) in floating or layer_name(name) not in layers]
    logging.getLogger("nncf").setLevel(logging.ERROR)
    try:
        with (
            redirect_stdout(StringIO()),
            ThreadPoolExecutor(1) as thread,
        ):  # its progress bars; `openvino_core` says why
            return thread.submit(
                nncf.quantize,
                model,
                nncf.Dataset(feeds),
                preset=nncf.QuantizationPreset.MIXED,  # maps after ReLU are not symmetric about 0
                subset_size=len(feeds),
                ignored_scope=nncf.IgnoredScope(names=ignored, validate=False),
            ).result()
    except (RuntimeError, nncf.ValidationError) as error:
        raise WeightsError(f"nncf cannot quantise the detector: {first_line(error)}") from error


def _without_zero_scales(model: "Model") -> "Model":
    """The model with x - x where it has x * 0, as a filter of boxes does that lets all pass.

    In a model with 8 bits anywhere, OpenVINO takes a factor for a scale and divides the limits of a clip behind it by
    it: NaN, and no box passes.
    """
    from openvino import opset13

    for node in model.get_ops():
        value = _beside_zero(node)
        if value is not None:
            nothing = opset13.subtract(value, value)
            nothing.set_friendly_name(node.get_friendly_name())
            node.output(0).replace(nothing.output(0))
    return model


def _beside_zero(node: "Node") -> "Output | None":
    """What a node multiplies by the number 0, if it does."""
    if node.get_type_name() != "Multiply":
        return None
    first, second = node.input_values()
    return first if _is_zero(second.get_node()) else second if _is_zero(first.get_node()) else None


def _is_zero(node: "Node") -> bool:
    return node.get_type_name() == "Constant" and np.size(node.data) == 1 and not np.any(node.data)


def _is_work(node: "Node") -> bool:
    return node.get_type_name() not in ("Constant", "Parameter", "Result")


def _restore(node: "Node", original: "Node") -> None:
    """Give a node its inputs of before: values that are not rounded, and weights and biases as they were."""
    from openvino import op

    for place, before in enumerate(original.inputs()):
        source = node.input_value(place).get_node()
        constant = before.get_source_output().get_node()
        if source.get_type_name() == "FakeQuantize":
            node.input(place).replace_source_output(source.input_value(0))
        elif constant.get_type_name() == "Constant":
            node.input(place).replace_source_output(op.Constant(np.array(constant.data)).output(0))
