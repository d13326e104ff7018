"""Exported detectors in lower precision: what is rounded, what is not, and what is said of it."""

import json
import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from exported_graphs import METADATA, feeds, node_named, small_detector

from rcnn.errors import ConfigError, WeightsError
from rcnn.export.half_onnx import halved, refuse_bf16
from rcnn.export.int8_onnx import OnnxInt8
from rcnn.export.int8_openvino import OpenVINOInt8
from rcnn.export.layers import FIRST, groups, module_path
from rcnn.export.metadata import onnx_metadata
from rcnn.export.openvino import layer_name, openvino_metadata, to_openvino, write_openvino
from rcnn.runtime import openvino_core

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
openvino = pytest.importorskip("openvino")
pytest.importorskip("nncf")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:No CUDA runtime"),
]
OUTPUTS = ("boxes", "scores", "labels", "count")


@pytest.fixture(scope="module")
def model():
    return small_detector()


@pytest.fixture(scope="module")
def onnx_int8(model):
    return OnnxInt8(model, feeds(4))


@pytest.fixture(scope="module")
def openvino_int8(model):
    return OpenVINOInt8(model, feeds(4))


def run_onnx(model, feed):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(OUTPUTS, session.run(list(OUTPUTS), feed), strict=True))


def run_openvino(model, feed):
    found = openvino_core(openvino).compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(feed)
    return {name: found[name] for name in OUTPUTS}


def assert_near(found, wanted, boxes, scores):
    np.testing.assert_allclose(found["boxes"], wanted["boxes"], atol=boxes)
    np.testing.assert_allclose(found["scores"], wanted["scores"], atol=scores)
    assert found["count"].tolist() == wanted["count"].tolist()


def rounded_onnx(model):
    """The modules of the layers whose weights come from 8 bits."""
    made = {node.output[0]: node for node in model.graph.node}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    return {module_path(n) for n in layers if n.input[1] in made and made[n.input[1]].op_type == "DequantizeLinear"}


def rounded_openvino(model, source):
    """The modules of the layers whose input is rounded to 8 bits."""
    modules = {node.name: module_path(node) for node in source.graph.node}
    layers = [op for op in model.get_ops() if op.get_type_name() in ("Convolution", "MatMul")]
    rounded = [op for op in layers if op.input_value(0).get_node().get_type_name() == "FakeQuantize"]
    return {modules[layer_name(op.get_friendly_name())] for op in rounded}


LAYERS = {
    "backbone.body.0.0",
    "backbone.body.1",
    "backbone.fpn.layer_blocks.0.0",
    "rpn.head.conv.0.0",
    "head.layers.fc6",
}


def test_each_layer_is_of_the_part_that_its_module_is_in(model):
    parts = {name: {module_path(node_named(model, node)) for node in nodes} for name, nodes in groups(model).items()}
    assert parts == {
        FIRST: {"backbone.body.0.0"},
        "backbone at stride 2": {"backbone.body.0"},
        "backbone at stride 4": {"backbone.body.1"},
        "FPN": {"backbone.fpn.layer_blocks.0.0"},
        "RPN convolutions": {"rpn.head.conv.0.0"},
        "RPN predictors": {"rpn.head.cls_logits"},
        "fc6": {"head.layers.fc6"},
        "predictors": {"head.cls_score", "head.bbox_pred"},
    }


def test_a_graph_whose_nodes_name_no_modules_is_refused(model):
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    for node in bare.graph.node:
        del node.metadata_props[:]
        node.op_type = node.op_type.replace("Conv", "Relu")
    with pytest.raises(ConfigError, match="names no layers of a detector; export it with rcnn export"):
        groups(bare)


def test_onnx_in_8_bits_finds_nearly_the_same(model, onnx_int8):
    for feed in feeds(3, seed=9):
        assert_near(run_onnx(onnx_int8.quantised(), feed), run_onnx(model, feed), boxes=2.0, scores=0.05)


def test_openvino_in_8_bits_finds_nearly_the_same(model, openvino_int8):
    for feed in feeds(3, seed=9):
        assert_near(run_openvino(openvino_int8.quantised(), feed), run_onnx(model, feed), boxes=2.0, scores=0.05)


def test_a_filter_that_lets_all_boxes_pass_does_so_in_openvinos_8_bits(openvino_int8):
    """It compares with max(size * 0, 0.001), which OpenVINO would make NaN; a box that does not pass is -1."""
    assert run_openvino(openvino_int8.quantised(), feeds(1)[0])["boxes"].min() > 0


def test_predictors_and_arithmetic_of_boxes_are_never_rounded(model, onnx_int8, openvino_int8):
    assert rounded_onnx(onnx_int8.quantised()) == LAYERS
    assert rounded_openvino(openvino_int8.quantised(), model) == LAYERS
    kinds = Counter(op.get_type_name() for op in openvino_int8.quantised().get_ops())
    assert kinds["FakeQuantize"] == len(LAYERS)  # in front of a layer each, and nowhere else


def test_a_part_that_is_kept_is_not_rounded_and_has_its_weights_of_before(model, onnx_int8, openvino_int8):
    kept = ["fc6", FIRST]
    left = LAYERS - {"head.layers.fc6", "backbone.body.0.0"}
    assert rounded_onnx(onnx_int8.quantised(kept)) == left
    assert rounded_openvino(openvino_int8.quantised(kept), model) == left


def test_with_all_parts_kept_the_detector_is_the_one_of_before(model, onnx_int8, openvino_int8):
    feed = feeds(1, seed=9)[0]
    for found in (
        run_onnx(onnx_int8.quantised(onnx_int8.parts), feed),
        run_openvino(openvino_int8.quantised(openvino_int8.parts), feed),
    ):
        assert_near(found, run_onnx(model, feed), boxes=1e-3, scores=1e-6)


def test_keeping_a_part_leaves_the_model_that_was_made_before_as_it_was(model, onnx_int8, openvino_int8):
    onnx_int8.quantised(["FPN"])
    openvino_int8.quantised(["FPN"])
    assert rounded_onnx(onnx_int8.quantised()) == LAYERS
    assert rounded_openvino(openvino_int8.quantised(), model) == LAYERS


def test_a_part_that_a_detector_does_not_have_is_named(onnx_int8, openvino_int8):
    for int8 in (onnx_int8, openvino_int8):
        with pytest.raises(ConfigError, match="'fc8': no part of this detector; it has first convolution"):
            int8.quantised(["fc8"])


@pytest.mark.parametrize("engine", [OnnxInt8, OpenVINOInt8])
def test_calibration_wants_pictures(model, engine):
    with pytest.raises(ConfigError, match="no pictures to calibrate on"):
        engine(model, [])


@pytest.mark.parametrize("engine", [OnnxInt8, OpenVINOInt8])
def test_calibration_holds_few_of_its_feeds_at_a_time(model, engine):
    """Each is as large as a batch of the detector's canvases."""
    made, most = [], []

    class Made:
        def __len__(self):
            return 8

        def __iter__(self):
            for feed in feeds(8):
                copy = feed["images"].copy()
                made.append(weakref.ref(copy))
                most.append(sum(one() is not None for one in made))
                yield feed | {"images": copy}

    engine(model, Made())
    assert len(most) >= 8
    assert max(most) <= 3


def test_files_in_8_bits_say_so_and_all_else_that_they_said(onnx_int8):
    assert onnx_metadata(onnx_int8.quantised()) == METADATA | {"precision": "int8"}
    assert onnx_metadata(onnx_int8.quantised(["fc6"])) == METADATA | {"precision": "int8"}


def test_metadata_come_back_from_openvinos_files_as_they_were(model, tmp_path):
    write_openvino(to_openvino(model), tmp_path / "m.xml", METADATA)
    read = openvino.Core().read_model(tmp_path / "m.xml")
    assert json.dumps(openvino_metadata(read)) == json.dumps(METADATA)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.bin", "m.xml"]


def test_half_precision_halves_openvinos_weights_and_keeps_its_answers(model, tmp_path):
    whole = to_openvino(model)
    write_openvino(whole, tmp_path / "whole.xml", METADATA)
    write_openvino(whole, tmp_path / "half.xml", METADATA, half=True)
    sizes = [(tmp_path / f"{name}.bin").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.6 * sizes[1]
    feed = feeds(1)[0]
    read = openvino.Core().read_model(tmp_path / "half.xml")
    assert_near(run_openvino(read, feed), run_onnx(model, feed), boxes=0.05, scores=2e-3)


def test_a_failure_leaves_the_files_of_before_and_nothing_else(model, tmp_path, monkeypatch):
    (tmp_path / "m.xml").write_text("old")
    (tmp_path / "m.bin").write_text("old")

    def broken(model, path, **_):
        path.write_text("half a file")
        raise RuntimeError("disk full")

    monkeypatch.setattr(openvino, "save_model", broken)
    with pytest.raises(RuntimeError, match="disk full"):
        write_openvino(to_openvino(model), tmp_path / "m.xml", METADATA)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"m.xml": "old", "m.bin": "old"}


def test_a_failure_between_the_two_files_leaves_no_old_one_beside_a_new_one(model, tmp_path, monkeypatch):
    for name in ("m.xml", "m.bin"):
        (tmp_path / name).write_text("old")
    replace, done = Path.replace, []

    def second_fails(self, target):
        done.append(target)
        if len(done) == 2:
            raise OSError("disk full")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", second_fails)
    with pytest.raises(OSError, match="disk full"):
        write_openvino(to_openvino(model), tmp_path / "m.xml", METADATA)
    assert [file.name for file in tmp_path.iterdir()] == ["m.bin"]
    assert (tmp_path / "m.bin").read_bytes() != b"old"


def test_openvinos_files_must_be_called_xml(model, tmp_path):
    with pytest.raises(ConfigError, match=r"give --out a name that ends in \.xml"):
        write_openvino(to_openvino(model), tmp_path / "m.onnx", METADATA)


def test_models_of_others_are_no_detectors(model):
    stranger = onnx.ModelProto()
    stranger.CopyFrom(model)
    del stranger.metadata_props[:]
    with pytest.raises(WeightsError, match=r"x\.onnx: an ONNX model, but no detector of this library"):
        onnx_metadata(stranger, "x.onnx")
    with pytest.raises(WeightsError, match=r"x\.xml: an OpenVINO model, but no detector of this library"):
        openvino_metadata(to_openvino(model), "x.xml")


def test_an_onnx_detector_in_fp16_finds_nearly_the_same_with_the_same_inputs_and_outputs(model):
    half = halved(model)
    onnx.checker.check_model(half)
    feed = feeds(1)[0]
    assert_near(run_onnx(half, feed), run_onnx(model, feed), boxes=0.05, scores=2e-3)
    assert onnx_metadata(half) == METADATA | {"precision": "fp16"}


def test_in_fp16_layers_compute_in_16_bits_and_boxes_in_32(model):
    inferred = onnx.shape_inference.infer_shapes(halved(model)).graph
    kinds = {info.name: info.type.tensor_type.elem_type for info in [*inferred.value_info, *inferred.output]}
    nodes = [node for node in inferred.node if node.metadata_props]
    sixteen = {module_path(node) for node in nodes if kinds.get(node.output[0]) == onnx.TensorProto.FLOAT16}
    assert sixteen == LAYERS | {"backbone.body.0"}  # its ReLU
    # What is between two nodes of fp32 is not rounded on its way: every cast to fp16 leads into a layer.
    cast = [node.output[0] for node in inferred.node if node.op_type == "Cast" and node.attribute[0].i == 10]
    readers = {module_path(node) for node in inferred.node for name in node.input if name in cast}
    assert cast
    assert readers <= LAYERS | {"backbone.body.0"}


def test_bf16_is_refused_because_onnx_runtime_has_no_such_convolution():
    with pytest.raises(ConfigError, match="no convolution in bf16"):
        refuse_bf16()
    kind = onnx.TensorProto.BFLOAT16
    ends = [onnx.helper.make_tensor_value_info(name, kind, [1, 1, 4, 4]) for name in "xwy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Conv", ["x", "w"], ["y"])], "g", ends[:2], ends[2:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)], ir_version=10)
    with pytest.raises(Exception, match=r"NOT_IMPLEMENTED|Could not find an implementation|Invalid|not implemented"):
        ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
