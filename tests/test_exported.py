"""Exported files as runs: loaded by the library, and given to each of its commands."""

import json

import numpy as np
import pytest
import torch
from conftest import write_voc
from exported_files import bright, metadata, write_exported, write_onnx, write_openvino
from PIL import Image
from serving_parts import boxes, png, serving

import rcnn
from rcnn import api, runtime
from rcnn.api.loading import limit_proposals
from rcnn.cli import main
from rcnn.errors import ConfigError, DataError, WeightsError
from rcnn.inference.exported import ExportedDetector
from rcnn.inference.tiling import Tiles, predict_tiled
from rcnn.inference.views import Views, predict_views
from rcnn.sample import DataSet, Sample
from rcnn.serving.spread import spread

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
pytestmark = pytest.mark.usefixtures("quiet_log")

BOX, SIZE = (8, 16, 40, 48), (64, 80)
BOTH = pytest.mark.parametrize("suffix", [".onnx", ".xml"])
SIZES = [(64, 80), (80, 64), (30, 90), (128, 160), (20, 20), (64, 80)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_onnx(tmp_path_factory.mktemp("models") / "model.onnx")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A VOC folder of bright rectangles, all of which the detector finds to the pixel."""
    rng = np.random.default_rng(0)
    samples = []
    for number in range(6):
        x, y = rng.integers(2, 20, 2).tolist()
        box = (x, y, x + 20 + number, y + 24)
        colour, name = (((250, 40, 40), "warm"), ((40, 40, 250), "cold"))[number % 2]
        samples.append(Sample(f"s{number}", bright(SIZE, box, colour), np.array([box], np.float32), (name,)))
    return write_voc(tmp_path_factory.mktemp("data") / "bright", DataSet({"test": samples}, ("warm", "cold")))


def same(one, other):
    """Whether the library's detections are the runtime's."""
    return (
        one.names == other.names
        and np.array_equal(one.boxes.numpy(), other.boxes)
        and np.array_equal(one.scores.numpy(), other.scores)
    )


@pytest.mark.parametrize(
    ("suffix", "kind", "batch"),
    [
        (".xml", "uint8", None),
        (".onnx", "uint8", None),
        (".onnx", "uint8", 2),
        (".onnx", "normalised", None),
        (".onnx", "picture", 1),
    ],
)
def test_an_exported_file_detects_what_the_runtime_detects(tmp_path, suffix, kind, batch):
    about = metadata(kind, batch, thresholds={"whole": 0.2, "warm": 0.5, "cold": None})
    file = write_exported(tmp_path / f"model{suffix}", about)
    detector, plain = rcnn.load(file), runtime.load(file)
    pictures = [bright(size, (2, 3, 2 + place * 2, 18)) for place, size in enumerate(SIZES, 1)]
    for score in (None, 0.0):
        found = list(detector.predict(pictures, batch=4, score=score))
        known = list(plain.predict(pictures, batch=4, score=score))
        assert [len(one) for one in found] == [2] * len(SIZES)
        assert all(same(*pair) for pair in zip(found, known, strict=True))
    assert detector.category_ids == {"warm": 7, "cold": 8, "whole": 9}
    assert detector.incomplete == 0


@pytest.mark.parametrize("how", ["bilinear", "pillow"])
@pytest.mark.parametrize("kind", ["uint8", "normalised", "picture"])
@pytest.mark.parametrize("channels", [3, 1])
def test_canvases_are_those_of_the_runtime(tmp_path, how, kind, channels):
    about = metadata(kind, None, resize=how, channels=channels, mean=(0.5,) * channels, std=(0.2,) * channels)
    inputs = {"images"} if kind == "picture" else {"images", "sizes", "original_sizes"}
    plain = runtime.Detector(runtime.Engine(tmp_path, about, inputs, dict))
    picture = np.random.default_rng(0).integers(0, 256, (130, 170, channels), dtype=np.uint8)
    ours = ExportedDetector(plain.engine).batch_of(picture)
    theirs = plain._laid_out([picture], [np.zeros((0, 4), np.float32)])
    if kind == "normalised":
        np.testing.assert_allclose(ours.images, theirs["images"], atol=1e-5)
    else:
        images = theirs["images"].reshape(1, *theirs["images"].shape[-3:])
        np.testing.assert_array_equal(ours.images.permute(0, 2, 3, 1), images)
    if kind != "picture":
        assert ours.sizes.tolist() == theirs["sizes"].tolist()
        assert ours.original_sizes.tolist() == theirs["original_sizes"].tolist()


def test_deep_pictures_are_refused_by_a_file_of_bytes(model):
    with pytest.raises(DataError, match="takes 8 bits; export it with --input normalised"):
        next(rcnn.load(model).predict(np.zeros((64, 80, 3), np.uint16)))


def test_tiles_and_views_look_through_an_exported_file(model):
    detector = rcnn.load(model)
    picture = bright((200, 240), (150, 120, 180, 160))
    (tiled,) = predict_tiled(detector, [picture], Tiles(64, 0.5, whole=False), score=0.5)
    np.testing.assert_allclose(tiled.boxes, [(150, 120, 180, 160)], atol=1e-3)
    (viewed,) = predict_views(detector, [bright(SIZE, BOX)], Views((64, 128), flip=True), score=0.5)
    np.testing.assert_allclose(viewed.boxes, [BOX], atol=0.51)


def test_a_file_that_resizes_itself_has_one_size(tmp_path):
    detector = rcnn.load(write_onnx(tmp_path / "model.onnx", metadata("picture", 1)))
    (viewed,) = predict_views(detector, [bright(SIZE, BOX)], Views(flip=True), score=0.5)
    np.testing.assert_allclose(viewed.boxes, [BOX], atol=1e-3)
    with pytest.raises(ConfigError, match=r"resizes pictures itself; leave --sizes out"):
        list(predict_views(detector, [bright(SIZE, BOX)], Views((64, 128)), score=0.5))


@BOTH
def test_regions_of_a_sample_or_of_selective_search_are_given_to_the_file(tmp_path, suffix, monkeypatch):
    about = metadata(proposals={"mode": "fast", "most": 10})
    detector = rcnn.load(write_exported(tmp_path / f"model{suffix}", about))
    regions = np.array([[1, 2, 30, 40], [3, 4, 20, 60]], np.float32)
    sample = Sample("a", bright((128, 160), BOX), proposals=regions)
    (given,) = detector.predict(sample)
    np.testing.assert_allclose(given.boxes, [(3, 4, 30, 60)], atol=1e-3)
    monkeypatch.setattr("rcnn.inference.predictor.find", lambda picture, mode, cache, most: regions[:1])
    (searched,) = detector.predict(sample.picture)
    np.testing.assert_allclose(searched.boxes, [(1, 2, 30, 40)], atol=1e-3)
    limit_proposals(detector, 1)
    (best,) = detector.predict(sample)
    np.testing.assert_allclose(best.boxes, [(1, 2, 30, 40)], atol=1e-3)


@BOTH
def test_predict_evaluate_and_serve_take_the_file_as_they_take_a_run(tmp_path, shapes, capsys, suffix):
    file = write_exported(tmp_path / f"model{suffix}")
    picture, out, numbers = tmp_path / "a.png", tmp_path / "found", tmp_path / "numbers.json"
    Image.fromarray(bright(SIZE, BOX)).save(picture)
    assert main(["predict", str(file), str(picture), "--out", str(out), "--json", str(numbers), "--flip"]) == 0
    (row,) = json.loads(numbers.read_text())
    assert (row["category_name"], row["category_id"], row["bbox"]) == ("warm", 7, [8, 16, 32, 32])
    assert (out / "a.jpg").is_file()
    words = ["evaluate", str(file), str(shapes), "--batch", "4", "--json", str(numbers), "--analyse"]
    assert main(words) == 0
    assert json.loads(numbers.read_text())["AP"] == pytest.approx(1)
    assert "note: an exported file shows no stages" in capsys.readouterr().out
    assert api.measure(file, shapes).metrics["AP"] == pytest.approx(1)
    with serving(spread(rcnn.load(file)), batch=4) as (client, _):
        answer = client.post("/detect", content=png(2, (64, 96)), headers={"content-type": "image/png"})
        assert boxes(answer) == [[]]  # a colour of 200 is not bright yet


def test_serving_leaves_the_cores_to_the_engine(model):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        detector = rcnn.load(model)
        assert spread(detector) is detector
    finally:
        torch.set_num_threads(before)


def test_a_file_of_a_fixed_batch_is_given_whole_batches(tmp_path):
    detector = rcnn.load(write_onnx(tmp_path / "model.onnx", metadata(batch=2)))
    run, seen = detector.model.engine.run, []
    detector.model.engine.run = lambda **arrays: (seen.append(len(arrays["images"])), run(**arrays))[1]
    pictures = [bright(SIZE, (2, 3, 4 + place, 18)) for place in range(5)]
    found = list(detector.predict(pictures))
    assert seen == [2, 2, 1]
    assert [float(one.boxes[0, 2]) for one in found] == pytest.approx([4, 5, 6, 7, 8], abs=0.5)


@BOTH
def test_a_file_that_finds_what_it_does_not_name_is_refused_in_a_line(tmp_path, capfd, suffix):
    about = metadata(class_names=["warm"], category_ids={"warm": 7})
    file, picture = write_exported(tmp_path / f"model{suffix}", about), tmp_path / "a.png"
    Image.fromarray(bright(SIZE, BOX)).save(picture)
    assert main(["predict", str(file), str(picture), "--out", str(tmp_path / "out")]) == 2
    error = capfd.readouterr().err
    assert f"{file}: finds classes that it does not name; export it again" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"count": np.array([5])},
        {"count": np.array([-1])},
        {"boxes": np.zeros((1, 3, 5), np.float32)},
        {"labels": np.ones((1, 2), np.int64)},
    ],
)
def test_a_graph_that_gives_no_lists_of_detections_is_refused(model, changed):
    detector = rcnn.load(model)
    run = detector.model.engine.run
    detector.model.engine.run = lambda **arrays: run(**arrays) | changed
    with pytest.raises(WeightsError, match="gives no lists of detections"):
        next(detector.predict(bright(SIZE, BOX)))


REFUSED = {
    "compile": (["predict", "MODEL", "PICTURE", "--out", "OUT", "--compile"], "compiled by its engine; leave it out"),
    "last": (["predict", "MODEL", "PICTURE", "--out", "OUT", "--weights", "last"], "holds one set of weights"),
    "bf16": (["predict", "MODEL", "PICTURE", "--out", "OUT", "--precision", "bf16"], "has no bf16 for processors"),
    "device": (["predict", "MODEL", "PICTURE", "--out", "OUT", "--device", "cuda"], "computes on the processor"),
    "proposals": (["evaluate", "MODEL", "DATA", "--max-proposals", "5"], "looks at as many as it was exported with"),
    "thresholds": (["evaluate", "MODEL", "DATA", "--threshold-for", "recall=0.9"], "give the folder of a run"),
    "report": (["report", "MODEL", "DATA"], "give the folder of a run"),
    "train": (["train", "DATA", "--from", "MODEL", "--out", "OUT"], "an exported file only detects; give the folder"),
    "train preset": (
        ["train", "DATA", "--from", "MODEL", "--out", "OUT", "--preset", "demo", "--train-split", "test"],
        "an exported file only detects; give the folder",
    ),
    "compress": (["compress", "MODEL", "--svd", "fc6=4", "--out", "OUT"], "give the folder of a run"),
    "convert": (["convert", "MODEL", "--to", "torchvision", "--out", "OUT"], "an exported file only detects"),
    "propose": (["propose", "DATA", "--run", "MODEL", "--out", "OUT"], "makes no proposals of its own; give the run"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_only_a_run_can_do_is_refused_in_a_line(model, shapes, tmp_path, capfd, kind):
    words, message = REFUSED[kind]
    places = {"MODEL": model, "DATA": shapes, "OUT": tmp_path / "out", "PICTURE": shapes / "JPEGImages" / "s0.png"}
    assert main([str(places.get(word, word)) for word in words]) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_stages_and_compilation_are_refused_in_python(model):
    detector = rcnn.load(model)
    with pytest.raises(ConfigError, match="shows detections, not stages"):
        detector.stages(bright(SIZE, BOX))
    with pytest.raises(ConfigError, match="leave --compile out"):
        detector.compile()


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2"])
@pytest.mark.parametrize("content", [None, b"", b"hello", b"PK\x03\x04 cut"])
def test_a_broken_file_is_one_line_of_the_command(tmp_path, shapes, capfd, suffix, content):
    file = tmp_path / f"model{suffix}"
    if content is not None:
        file.write_bytes(content)
        file.with_suffix(".bin").write_bytes(b"")
    picture = shapes / "JPEGImages" / "s0.png"
    assert main(["predict", str(file), str(picture), "--out", str(tmp_path / "out")]) == 2
    error = capfd.readouterr().err
    assert error.startswith(f"rcnn: {file}: ")
    assert error.count("\n") == 1


@BOTH
def test_a_model_that_is_no_detector_is_one_line_of_the_command(tmp_path, shapes, capfd, suffix):
    file = tmp_path / f"model{suffix}"
    (write_onnx if suffix == ".onnx" else write_openvino)(file, text="")
    picture = shapes / "JPEGImages" / "s0.png"
    for words in (["predict", str(picture), "--out", str(tmp_path / "out")], ["evaluate", str(shapes)]):
        assert main([words[0], str(file), *words[1:]]) == 2
        error = capfd.readouterr().err
        assert error.startswith(f"rcnn: {file}: no detector of rcnn")
        assert error.count("\n") == 1


def test_a_newer_file_is_refused_by_the_library_too(tmp_path):
    with pytest.raises(WeightsError, match="format 2, and 1 is the newest known here; upgrade rcnn"):
        rcnn.load(write_onnx(tmp_path / "model.onnx", metadata(format_version=2)))
