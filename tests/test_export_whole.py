"""Whole exports of the rarer kinds, each of which must find what the run finds; two networks are traced for all."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import shape_sample, write_voc
from method_variants import METHODS, ONE_MAP, regions_near
from test_export import CLASSES, write_lively

import rcnn
from rcnn.agreement import matched
from rcnn.api import exporting
from rcnn.api.exporting import Plan, export
from rcnn.export import onnx as to_onnx_module
from rcnn.sample import DataSet, Sample

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
UNTIED = {"model.detections.nms": 1.0}
"""Regions that pool the same cells of these small maps tie, and the last digit would say which suppresses the other."""
PICTURES = [shape_sample(name, size).picture for name, size in (("a", (70, 100)), ("b", (100, 70)), ("c", (90, 91)))]


@pytest.fixture(scope="module")
def one_map(tmp_path_factory):
    return write_lively(tmp_path_factory.mktemp("whole") / "run", ONE_MAP | UNTIED)


@pytest.fixture(scope="module")
def known():
    return {}


@pytest.fixture
def traced_once(monkeypatch, known):
    """Graphs of one kind are traced and translated by the first export that wants them."""
    trace, translate = exporting.export_program, to_onnx_module.to_onnx

    def program_of(graph, example, free):
        key = graph.normalised, free
        if key not in known:
            known[key] = trace(graph, example, free)
        return known[key]

    def model_of(program):
        if id(program) not in known:
            known[id(program)] = translate(program)
        copy = onnx.ModelProto()
        copy.CopyFrom(known[id(program)])
        return copy

    monkeypatch.setattr(exporting, "export_program", program_of)
    monkeypatch.setattr(to_onnx_module, "to_onnx", model_of)


def assert_finds_what_the_run_finds(file, run, alike, pixels, score, sources=PICTURES):
    exported, original = rcnn.load(file), rcnn.load(run, "cpu")
    for ours, theirs in zip(exported.predict(sources), original.predict(sources), strict=True):
        assert len(theirs) > 10
        matched(ours, theirs, alike, pixels, score)


def types_in(file):
    """The element types of the weights of an ONNX file."""
    return {tensor.data_type for tensor in onnx.load(file).graph.initializer}


def test_a_file_of_normalised_canvases_finds_the_same(traced_once, one_map, tmp_path):
    done = export(one_map, tmp_path / "m.onnx", Plan(kind="normalised", batch=1))
    assert done.nearness.found > 50
    assert rcnn.load(done.path).model.engine.input.kind == "normalised"
    assert_finds_what_the_run_finds(done.path, one_map, 0.98, 0.05, 1e-3)


def test_a_file_that_resizes_pictures_itself_finds_the_same(traced_once, one_map, tmp_path):
    done = export(one_map, tmp_path / "m.onnx", Plan(kind="picture"), pictures=())
    assert [case.split(" of ")[0] for case in done.cases] == ["1", "1", "1"]
    assert len(set(done.cases)) == 2  # the black one is on the first one's canvas
    inputs = onnx.load(done.path).graph.input
    assert [one.name for one in inputs] == ["images"]
    assert_finds_what_the_run_finds(done.path, one_map, 0.9, 0.05, 1e-3)


def test_a_file_of_half_precision_has_16_bits_and_finds_nearly_the_same(traced_once, one_map, tmp_path):
    done = export(one_map, tmp_path / "m.onnx", Plan(kind="normalised", batch=1, precision="fp16"))
    assert onnx.TensorProto.FLOAT16 in types_in(done.path)
    assert_finds_what_the_run_finds(done.path, one_map, 0.8, 2, 0.05)


@pytest.fixture
def own_findings(one_map, tmp_path):
    """A VOC folder whose truth is the best of each class that the run finds, so that it is right by its own measure."""
    detector, splits = rcnn.load(one_map, "cpu"), {}
    for split, names in (("train", "abcd"), ("val", "efg")):
        splits[split] = [found_in(detector, f"{split}{name}") for name in names]
    return write_voc(tmp_path / "data", DataSet(splits, tuple(CLASSES)))


def found_in(detector, name):
    picture = shape_sample(name, (70, 100)).picture
    (found,) = detector.predict(picture, score=0.0)
    firsts = [found.names.index(one) for one in CLASSES if one in found.names]
    boxes = np.round(found.boxes.numpy()[firsts])
    return Sample(name, picture, boxes, tuple(found.names[place] for place in firsts))


@pytest.mark.parametrize(("format", "suffix"), [("onnx", ".onnx"), ("openvino", ".xml")])
def test_a_file_of_8_bits_is_calibrated_and_scored_on_data(
    traced_once, one_map, own_findings, tmp_path, format, suffix
):
    pytest.importorskip({"onnx": "onnxruntime", "openvino": "nncf"}[format])
    told = []
    done = export(
        one_map,
        tmp_path / f"m{suffix}",
        Plan(format, "picture", precision="int8"),
        calibration=own_findings,
        evaluation=own_findings,
        points=100.0,
        tell=told.append,
    )
    assert "calibrating 8 bits on 4 pictures" in told
    assert [line.split(":")[0] for line in told if "on 3 pictures" in line] == ["model 1", "model 2"]
    assert done.kept.full > 25
    assert done.kept.kept == ()
    assert done.kept.score == done.kept.full - done.kept.lost
    detector = rcnn.load(done.path)
    assert detector.model.engine.metadata["precision"] == "int8"
    assert len(next(detector.predict(PICTURES[0], score=0.0))) > 10


def test_a_fast_rcnn_with_roi_pooling_finds_the_same_in_given_regions(tmp_path):
    run = write_lively(tmp_path / "run", METHODS["fast-rcnn, max"] | UNTIED | {"model.proposals.test": 30})
    done = export(run, tmp_path / "m.onnx", Plan(batch=1))
    assert done.nearness.found > 20
    about = json.loads(onnx.load(done.path).metadata_props[0].value)
    assert (about["method"], about["proposals"]["most"]) == ("fast-rcnn", 30)
    samples = [shape_sample(name, (70, 100)) for name in "abc"]
    given = [replace(sample, proposals=regions_near(sample)) for sample in samples]
    assert_finds_what_the_run_finds(done.path, run, 0.8, 2, 0.05, given)
