"""Files for other engines: what is traced once here serves all of these tests, for tracing takes its time."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import shape_sample, tiny_config
from method_variants import settings_of
from torch.export import ExportedProgram

import rcnn
from rcnn import build
from rcnn.agreement import matched
from rcnn.api import exporting
from rcnn.api.export_data import ExportInputs
from rcnn.api.exporting import Plan, export
from rcnn.cli import main
from rcnn.data.preprocess import Preprocess
from rcnn.errors import ConfigError, DataError, DisagreementError
from rcnn.export import onnx as to_onnx_module
from rcnn.export.canvases import arrays_of, in_bytes
from rcnn.export.contract import TOLERANCES, Case, Original, cases_of, hold, hold_file
from rcnn.export.engines import as_tensors, run_onnx, run_openvino, run_program
from rcnn.export.graph import Graph, set_limits
from rcnn.export.onnx import to_onnx, with_outputs
from rcnn.export.openvino import only_outputs, to_openvino
from rcnn.export.pictures import made_up
from rcnn.export.program import DynamicShapes, export_program
from rcnn.export.resizing import front
from rcnn.presets.overrides import override
from rcnn.runs import RunFolder
from rcnn.runs.tensors import write_tensors
from rcnn.runtime import OUTPUTS

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
CLASSES = ["disc", "square"]


@pytest.fixture(scope="module")
def lively(tmp_path_factory):
    return write_lively(tmp_path_factory.mktemp("export") / "run", {"input.short": 96, "input.long": 160})


def write_lively(place, settings):
    """The folder of a run whose random weights are spread so that it finds something, and never the same score."""
    config = override(tiny_config(), None, (), settings)
    torch.manual_seed(0)
    model, _ = build.detector(config, len(CLASSES))
    spreads = {"head.cls_score": 0.5, "rpn.head.cls_logits": 0.5, "rpn.head.bbox_pred": 0.05}
    for name, layer in model.named_modules():
        if name in spreads:
            torch.nn.init.normal_(layer.weight, std=spreads[name])
    folder = RunFolder(place)
    folder.create(overwrite=False)
    about = {
        "config": config.model_dump(mode="json"),
        "class_names": CLASSES,
        "thresholds": {"by_class": {"disc": 0.7}},
    }
    write_tensors(folder.best, model.state_dict(), about)
    return folder.path


@pytest.fixture(scope="module")
def detector(lively):
    return rcnn.load(lively, "cpu")


@pytest.fixture(scope="module")
def graph(detector):
    return Graph(detector.model, detector.preprocess).eval()


@pytest.fixture(scope="module")
def original(graph):
    return Original(graph)


@pytest.fixture(scope="module")
def canvases(detector):
    return ExportInputs(detector, "uint8").canvases(())


@pytest.fixture(scope="module")
def program(graph, canvases) -> ExportedProgram:
    return export_program(graph, as_tensors({name: array[:2] for name, array in canvases[0].items()}), DynamicShapes())


@pytest.fixture(scope="module")
def model(program):
    return to_onnx(program)


@pytest.fixture
def traced(monkeypatch, program, model):
    """Exports do not trace anew: what they would trace is here already."""
    monkeypatch.setattr(
        exporting,
        "export_program",
        lambda graph, example, room: program if graph.with_stages else export_program(graph, example, room),
    )

    def copied(program):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy

    monkeypatch.setattr(to_onnx_module, "to_onnx", copied)


@pytest.mark.parametrize("engine", ["torch", "onnxruntime", "openvino"])
def test_every_engine_computes_each_stage_as_the_original_does(engine, original, canvases, program, model):
    pytest.importorskip(engine)
    run = {
        "torch": lambda: run_program(program),
        "onnxruntime": lambda: run_onnx(model),
        "openvino": lambda: run_openvino(to_openvino(model)),
    }[engine]()
    near = hold(original, run, cases_of(canvases, None), TOLERANCES["fp32"])
    assert near.found > 100
    assert near.detections == near.proposals == 1.0
    assert near.features < 1e-4


def test_cases_are_batches_of_one_and_four_on_two_canvases_and_a_picture_where_nothing_can_be(graph, canvases):
    cases = cases_of(canvases, None)
    assert [len(case.own["sizes"]) for case in cases] == [4, 1, 1] * 2
    assert len({case.own["images"].shape[1:] for case in cases}) == 2
    empty = graph(**as_tensors(cases[2].own))
    assert empty["count"].item() == 0
    assert not empty["regions_valid"].any()


@pytest.mark.parametrize("batch", [1, 2, 6])
def test_a_fixed_batch_is_held_with_and_without_an_empty_picture(graph, canvases, batch):
    full, last = cases_of(canvases[:1], batch)
    assert len(full.own["sizes"]) == len(last.own["sizes"]) == batch
    assert graph(**as_tensors(full.own))["count"].min() > 0
    assert graph(**as_tensors(last.own))["count"].tolist()[-1] == 0


def test_a_proposal_that_only_the_file_has_is_told(original, canvases, program):
    run, nothing = run_program(program), cases_of(canvases, None)[2]

    def lavish(arrays):
        found = dict(run(arrays))
        found["regions_valid"] = np.ones_like(found["regions_valid"])
        return found

    with pytest.raises(DisagreementError, match=r"only 0\.0% of the proposals are the same"):
        hold(original, lavish, [nothing], TOLERANCES["fp32"])


def test_an_engine_that_fails_is_told_with_the_case(original, canvases):
    def failing(arrays):
        raise RuntimeError("no kernel\nand more")

    for compare in (hold, hold_file):
        with pytest.raises(DisagreementError, match=r"fails, 4 of \d+ x \d+: no kernel; nothing is written"):
            compare(original, failing, cases_of(canvases, None), TOLERANCES["fp32"])


def test_a_file_that_finds_other_things_is_told(original, canvases, program):
    run = run_program(program)

    def renamed(arrays):
        found = dict(run(arrays))
        found["labels"] = found["labels"] % 2 + 1
        return found

    with pytest.raises(DisagreementError, match="of the detections are the same"):
        hold_file(original, renamed, cases_of(canvases, None), TOLERANCES["fp32"])


def test_a_picture_of_no_extent_alone_gives_outputs_of_full_size(model, canvases):
    pytest.importorskip("onnxruntime")
    alone = cases_of(canvases, None)[2].own
    found = run_onnx(with_outputs(model))(alone)
    assert found["count"].tolist() == [0]
    assert found["boxes"].shape == (1, 60, 4)  # 30 regions of 2 classes
    assert not any(found[name].any() for name in OUTPUTS)


def test_a_graph_that_computes_something_else_is_told_by_its_first_stage(original, canvases, program):
    run = run_program(program)

    def shifted(arrays):
        found = dict(run(arrays))
        found["features.2"] = found["features.2"] + 1
        return found

    with pytest.raises(DisagreementError, match=r"4 of \d+ x \d+: features\.2: differs .* nothing is written"):
        hold(original, shifted, cases_of(canvases, None), TOLERANCES["fp32"])


@pytest.mark.parametrize(
    ("part", "message"),
    [("regions", "proposals are the same"), ("pooled", "pooled features"), ("scores", "detections are the same")],
)
def test_each_later_stage_is_held_too(part, message, original, canvases, program):
    run = run_program(program)
    one = [Case("one", canvases[0], canvases[0])]

    def wrong(arrays):
        found = dict(run(arrays))
        found[part] = found[part] + 1.0
        return found

    with pytest.raises(DisagreementError, match=message):
        hold(original, wrong, one, TOLERANCES["fp32"])


def test_fewer_outputs_are_the_same_outputs(model, canvases):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    whole = run_onnx(model)(canvases[0])
    for run in (run_onnx(with_outputs(model)), run_openvino(only_outputs(to_openvino(model)))):
        found = run(canvases[0])
        assert list(found) == list(OUTPUTS)
        np.testing.assert_allclose(found["scores"], whole["scores"], atol=1e-5)


@pytest.mark.parametrize(("format", "suffix"), [("onnx", ".onnx"), ("openvino", ".xml"), ("torch", ".pt2")])
def test_an_exported_file_is_a_run_that_finds_the_same(traced, lively, detector, tmp_path, format, suffix):
    pytest.importorskip({"openvino": "openvino", "onnx": "onnxruntime", "torch": "torch"}[format])
    pictures = [shape_sample(name, (90, 120)).picture for name in ("a", "b", "c")]
    done = export(lively, tmp_path / f"model{suffix}", Plan(format=format))
    assert set(done.seconds) == {"original", "exported"}
    exported = rcnn.load(done.path)
    assert exported.class_names == detector.class_names
    assert exported.thresholds == {"disc": 0.7}
    for ours, theirs in zip(exported.predict(pictures, batch=3), detector.predict(pictures), strict=True):
        assert len(theirs) > 20
        matched(ours, theirs, 0.8, 2, 0.03)  # bytes are rounded, so near ties fall otherwise
    files = [".bin", ".xml"] if format == "openvino" else [suffix]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == files


@pytest.mark.parametrize("batch", [1, 2])
def test_a_file_of_a_fixed_batch_takes_any_number_of_pictures(traced, lively, detector, tmp_path, batch):
    pytest.importorskip("onnxruntime")
    done = export(lively, tmp_path / "model.onnx", Plan(batch=batch))
    assert [case.split(" of ")[0] for case in done.cases] == [str(batch)] * 4
    pictures = [shape_sample(name, (90, 120)).picture for name in ("a", "b", "c")]
    for ours, theirs in zip(rcnn.load(done.path).predict(pictures, batch=3), detector.predict(pictures), strict=True):
        matched(ours, theirs, 0.8, 2, 0.03)


def test_what_a_file_says_of_itself(traced, lively, tmp_path):
    export(lively, tmp_path / "model.onnx")
    about = json.loads(onnx.load(tmp_path / "model.onnx").metadata_props[0].value)
    assert about["class_names"] == CLASSES
    assert about["input"]["kind"] == "uint8"
    assert (about["score"], about["detections"], about["batch"], about["precision"]) == (0.05, 100, None, "fp32")
    assert about["config"]["input"]["short"] == 96


def test_a_file_that_answers_otherwise_is_not_written(traced, lively, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "TOLERANCES", {"fp32": TOLERANCES["fp32"].__class__(0.0, 0.0, 1.1, 0.0, 0.0)})
    with pytest.raises(DisagreementError):
        export(lively, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_an_export_that_ends_between_its_two_files_leaves_no_old_one_beside_a_new_one(
    traced, lively, tmp_path, monkeypatch
):
    pytest.importorskip("openvino")
    for name in ("model.xml", "model.bin"):
        (tmp_path / name).write_text("old")
    replace = Path.replace

    def xml_fails(self, target):
        if target == tmp_path / "model.xml":
            raise OSError("disk full")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", xml_fails)
    with pytest.raises(OSError, match="disk full"):
        export(lively, tmp_path / "model.xml", Plan(format="openvino"), overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["model.bin"]


@pytest.mark.parametrize("able", [True, False])
def test_figures_of_bf16_that_are_of_fp32_are_told_as_such(traced, lively, tmp_path, monkeypatch, able):
    pytest.importorskip("openvino")
    monkeypatch.setattr(exporting, "openvino_has_bf16", lambda: able)
    told = []
    export(lively, tmp_path / "model.xml", Plan(format="openvino", precision="bf16"), tell=told.append)
    assert [line for line in told if "no bf16" in line and "fp32" in line] == [told[1]] * (not able)


def test_the_original_looks_at_each_case_once(traced, lively, tmp_path, monkeypatch):
    forward, looked = Graph.forward, []
    monkeypatch.setattr(Graph, "forward", lambda self, **arrays: (looked.append(arrays), forward(self, **arrays))[1])
    done = export(lively, tmp_path / "model.onnx")
    assert len(looked) == len(done.cases) == 6


def test_the_command_tells_stages_and_speed(traced, lively, tmp_path, capsys, quiet_log):
    assert main(["export", str(lively), "--out", str(tmp_path / "m.onnx")]) == 0
    said = capsys.readouterr().out
    for word in ("features", "proposals", "pooled features", "detections", "a picture takes", "4 of 96 x", "1 of "):
        assert word in said
    assert main(["export", str(lively), "--out", str(tmp_path / "m.onnx")]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "model.xml"], "--out model.xml: files of --format onnx end in .onnx"),
        (["--batch", "0"], "--batch 0: give dynamic, or a number from 1"),
        (["--input", "float"], "--input float: give uint8 or normalised"),
        (["--half", "--bf16"], "--half, --bf16 and --int8: give one of them"),
        (["--bf16"], "bf16: ONNX Runtime has no convolution in bf16"),
        (["--format", "torch", "--half"], "--format torch: has no fp16"),
        (["--split", "test"], "--split test: is for --eval DATA"),
        (["--points", "0.2"], "--points 0.2: is for --eval DATA"),
        (["--format", "torch", "--bf16"], "--format torch: has no bf16"),
        (["--eval", "data"], "--eval DATA: says what 8 bits cost; pass --int8 DATA too"),
        (["--with-resize", "--batch", "4"], "--with-resize: takes one picture at a time"),
        (["--with-resize", "--input", "normalised"], "--with-resize: takes a picture of bytes"),
        (["--out", "nowhere/model.onnx"], "--out nowhere/model.onnx: there is no folder nowhere"),
        (["--pictures", "nothing.jpg"], "nothing.jpg: no picture there"),
    ],
)
def test_wrong_options_are_one_line(lively, tmp_path, monkeypatch, capsys, quiet_log, options, message):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(lively), *options]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bucket", ["coarse", "exact32", "exact"])
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_the_resize_in_front_lays_pictures_out_as_the_library_does(bucket, engine):
    pytest.importorskip(engine)
    preprocess = Preprocess(short=64, long=107, bucket=bucket)
    made = front(preprocess, 10, 18)
    if engine == "openvino":
        import openvino

        run = run_openvino(openvino.Core().read_model(made.SerializeToString()))
    else:
        run = run_onnx(made)
    for size in ((40, 60), (200, 90), (64, 64), (31, 200)):
        (picture,) = made_up(1, size, 3)
        resized = preprocess.resized(size)
        wanted = preprocess.lay_out([picture], [resized], preprocess.canvas(resized), 1)
        found = run({"images": picture})
        np.testing.assert_allclose(found["laid_out"], wanted.images.numpy(), atol=2e-3)
        assert found["sizes"].tolist() == wanted.sizes.tolist()
        assert found["original_sizes"].tolist() == wanted.original_sizes.tolist()


def test_a_graph_sees_the_bytes_of_a_canvas_as_the_network_does(graph, detector):
    (picture,) = made_up(1, (90, 130), 3)
    in_integers = detector.looking_at(in_bytes(detector.preprocess)).batch_of(picture)
    arrays = arrays_of(in_integers, normalised=False)
    assert arrays["images"].dtype == np.uint8
    arrays["images"][:, 96:] = 77  # beyond the picture, which is 96 high on this canvas
    seen = graph._seen(*(torch.from_numpy(arrays[name]) for name in ("images", "sizes")))
    wanted = detector.batch_of(picture).images
    assert (seen - wanted).abs().max() < 0.51 / 255 / min(detector.preprocess.std)


def test_data_for_8_bits_is_looked_at_before_anything_is_traced(lively, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "export_program", lambda *_: pytest.fail("traced"))
    (tmp_path / "pictures").mkdir()
    for given in ({"calibration": tmp_path / "pictures"}, {"calibration": tmp_path / "none"}):
        with pytest.raises(DataError):
            export(lively, tmp_path / "model.onnx", Plan(precision="int8"), **given)
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_limits_given_at_export_are_the_graphs(lively):
    model = rcnn.load(lively, "cpu").model
    set_limits(model, score=0.4, nms=None, detections=5)
    assert (model.postprocess.score, model.postprocess.detections) == (0.4, 5)
    assert model.postprocess.nms == rcnn.load(lively, "cpu").model.postprocess.nms


def test_methods_that_no_graph_holds_are_refused(tmp_path):
    config = override(tiny_config(), None, (), settings_of("rcnn"))
    model, _ = build.detector(config, 2)
    folder = RunFolder(tmp_path / "rcnn")
    folder.create(overwrite=False)
    write_tensors(folder.best, model.state_dict(), {"config": config.model_dump(mode="json"), "class_names": CLASSES})
    with pytest.raises(ConfigError, match="R-CNN: sends thousands of crops"):
        export(folder.path, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
