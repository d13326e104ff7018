"""A detector of a few small layers as an ONNX model: inputs, outputs, names and metadata of an exported one."""

import json
import re

import numpy as np
from onnx import TensorProto, helper, numpy_helper

METADATA = {
    "format_version": 1,
    "method": "faster-rcnn",
    "class_names": ['a "quoted" one', "ä < b & c"],
    "thresholds": {"ä < b & c": None},
    "input": {"kind": "uint8", "short": 32, "long": 64, "mean": [0.485, 0.456, 0.406]},
    "batch": None,
    "precision": "fp32",
}
SIDE = 32


def small_detector(seed=0):
    """Two convolutions, an RPN's, fc6, predictors, and the arithmetic of one box a picture."""
    return _Writer(seed).model()


def feeds(count, seed=1):
    """Inputs of so many batches of one picture."""
    rng = np.random.default_rng(seed)
    size = np.array([[SIDE, SIDE]], np.int64)
    pictures = (rng.integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8) for _ in range(count))
    return [{"images": picture, "sizes": size, "original_sizes": 20 * size} for picture in pictures]


def node_named(model, name):
    """The node of an ONNX model."""
    return next(node for node in model.graph.node if node.name == name)


class _Writer:
    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.constants = [], []

    def model(self):
        seen = self.op("Div", [self.op("Cast", ["images"], to=TensorProto.FLOAT), self.constant(np.float32(255))])
        seen = self.op("Transpose", [seen], perm=[0, 3, 1, 2])
        first = self.op("Relu", [self.conv(seen, "backbone.body.0.0", 3, 8, stride=2)], module="backbone.body.0")
        features = self.op("Relu", [self.conv(first, "backbone.body.1", 8, 8, stride=2)], module="backbone")
        features = self.conv(features, "backbone.fpn.layer_blocks.0.0", 8, 8)
        shared = self.op("Relu", [self.conv(features, "rpn.head.conv.0.0", 8, 8)], module="rpn.head")
        objectness = self.conv(shared, "rpn.head.cls_logits", 8, 1, side=1)
        gate = self.op("Sigmoid", [self.op("ReduceMean", [objectness, self.whole_numbers([1, 2, 3])], keepdims=0)])
        pooled = self.op("Flatten", [self.op("GlobalAveragePool", [features])])
        hidden = self.op("Relu", [self.gemm(pooled, "head.layers.fc6", 8, 16)], module="head")
        self.scores(self.gemm(hidden, "head.cls_score", 16, 3), gate)
        self.boxes(self.gemm(hidden, "head.bbox_pred", 16, 4))
        return self.whole()

    def scores(self, logits, gate):
        """One detection a picture: the better of two classes."""
        likely = self.op("Slice", [self.op("Softmax", [logits], axis=1), *map(self.whole_numbers, ([1], [3], [1]))])
        best, label = self.op("TopK", [likely, self.whole_numbers([1])], outputs=2)
        self.op("Mul", [best, self.op("Unsqueeze", [gate, self.whole_numbers([1])])], name="scores")
        self.op("Add", [label, self.whole_numbers([1])], name="labels")
        full = self.op("Greater", ["scores", self.constant(np.float32(-1))])
        self.op(
            "ReduceSum", [self.op("Cast", [full], to=TensorProto.INT64), self.whole_numbers([1])], "count", keepdims=0
        )

    def boxes(self, deltas):
        """Within the original picture: its size, moved by up to a hundredth."""
        shift = self.op("Mul", [self.op("Tanh", [deltas]), self.constant(np.float32(0.01))])
        sizes = self.op("Cast", ["original_sizes"], to=TensorProto.FLOAT)
        corners = self.op("Concat", [sizes, sizes], axis=1)
        moved = self.op("Mul", [corners, self.op("Add", [shift, self.constant(np.float32(0.98))])], module="box")
        none = self.op("Mul", [self.op("Cast", ["sizes"], to=TensorProto.FLOAT), self.constant(np.float32(0))])
        least = self.op("Clip", [none, self.constant(np.float32(0.001))])
        large = self.op("GreaterOrEqual", [moved, self.op("Concat", [least, least], axis=1)])  # all are
        shown = self.op("Where", [large, moved, self.constant(np.float32(-1))])
        self.op("Unsqueeze", [shown, self.whole_numbers([1])], name="boxes")

    def conv(self, x, module, inputs, outputs, stride=1, side=3):
        weight = self.rng.normal(0, 1.5 / np.sqrt(inputs * side * side), (outputs, inputs, side, side))
        names = [self.constant(weight.astype(np.float32)), self.constant(np.full(outputs, 0.1, np.float32))]
        return self.op("Conv", [x, *names], module=module, strides=[stride] * 2, pads=[side // 2] * 4)

    def gemm(self, x, module, inputs, outputs):
        weight = self.rng.normal(0, 1.5 / np.sqrt(inputs), (outputs, inputs)).astype(np.float32)
        names = [self.constant(weight), self.constant(np.full(outputs, 0.1, np.float32))]
        return self.op("Gemm", [x, *names], module=module, transB=1)

    def op(self, kind, inputs, name=None, module="", outputs=1, **attributes):
        number = len(self.nodes)
        made = [name or f"v{number}"] + [f"v{number}.{place}" for place in range(1, outputs)]
        node = helper.make_node(
            kind, inputs, made, name=f"node_{re.sub(r'[^a-z0-9]', '_', module)}_{number}", **attributes
        )
        scopes = ["", "model", *([f"model.{module}"] if module else []), kind]
        node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=repr(scopes))
        self.nodes.append(node)
        return made[0] if outputs == 1 else made

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def whole_numbers(self, values):
        return self.constant(np.array(values, np.int64))

    def whole(self):
        number, whole = TensorProto.FLOAT, TensorProto.INT64
        inputs = {"images": (TensorProto.UINT8, ["B", "H", "W", 3]), "sizes": (whole, ["B", 2])}
        inputs["original_sizes"] = (whole, ["B", 2])
        outputs = {"boxes": (number, ["B", 1, 4]), "scores": (number, ["B", 1]), "labels": (whole, ["B", 1])}
        outputs["count"] = (whole, ["B"])
        ends = [[helper.make_tensor_value_info(k, *v) for k, v in each.items()] for each in (inputs, outputs)]
        graph = helper.make_graph(self.nodes, "detector", *ends, initializer=self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        model.metadata_props.add(key="rcnn", value=json.dumps(METADATA))
        return model
