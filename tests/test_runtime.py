"""The runtime of exported detectors, which knows neither torch nor the rest of the library."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from exported_files import CLASSES, bright, metadata, write_exported, write_onnx, write_openvino
from PIL import Image

from rcnn import runtime
from rcnn.data.picture import read_pixels
from rcnn.data.preprocess import Preprocess
from rcnn.data.resize import resize

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

BOX, SIZE = (8, 16, 40, 48), (64, 80)
BOTH = pytest.mark.parametrize("suffix", [".onnx", ".xml"])
LEVELS = np.repeat(np.arange(256, dtype=np.float32)[:, None], 3, axis=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_onnx(tmp_path_factory.mktemp("models") / "model.onnx")


@pytest.fixture(scope="module")
def detector(model):
    return runtime.load(model)


def noise(size, channels=3, dtype=np.uint8, seed=0):
    high = 1 if dtype == np.float32 else np.iinfo(dtype).max
    return (np.random.default_rng(seed).random((*size, channels)) * high).astype(dtype)


def input_of(**changes):
    return runtime.Input(**metadata(**changes)["input"])


def said(error):
    """The message of an error, which is one line."""
    text = str(error.value)
    assert "\n" not in text
    return text


@BOTH
@pytest.mark.parametrize(("kind", "batch"), [("uint8", None), ("uint8", 2), ("normalised", None), ("picture", 1)])
def test_what_is_bright_is_found_in_pixels_of_the_picture(tmp_path, suffix, kind, batch):
    detector = runtime.load(write_exported(tmp_path / f"model{suffix}", metadata(kind, batch)))
    pictures = [bright(SIZE, BOX), bright((128, 160), (20, 32, 80, 96), (20, 20, 230)), bright(SIZE, (0, 0, 0, 0))]
    warm, cold, nothing = detector.predict(pictures, batch=3, score=0.0)
    assert warm.names == ["warm", "whole"]
    np.testing.assert_allclose(warm.boxes, [BOX, (0, 0, 80, 64)], atol=1e-3)
    np.testing.assert_allclose(warm.scores, [250 / 255, 0.3], atol=1e-5)
    assert cold.names == ["cold", "whole"]
    assert cold.labels.tolist() == [2, 3]
    np.testing.assert_allclose(cold.boxes, [(20, 32, 80, 96), (0, 0, 160, 128)], atol=1e-3)
    assert len(nothing) == 0
    assert nothing.boxes.shape == (0, 4)


@pytest.mark.parametrize("batch", [None, 2, 4])
def test_pictures_of_many_sizes_in_batches_are_found_as_each_alone(tmp_path, detector, batch):
    sizes = [(64, 80), (80, 64), (64, 64), (30, 90), (128, 160), (20, 20), (64, 80)]
    pictures = [bright(size, (2, 3, 2 + place * 2, 18)) for place, size in enumerate(sizes, 1)]
    several = runtime.load(write_onnx(tmp_path / "model.onnx", metadata(batch=batch)))
    together = list(several.predict(pictures, batch=5, score=0.0))
    for picture, found in zip(pictures, together, strict=True):
        (alone,) = detector.predict(picture, score=0.0)
        assert alone.names == found.names
        np.testing.assert_array_equal(alone.boxes, found.boxes)


def test_a_score_or_the_stored_thresholds_say_what_is_shown(tmp_path, detector):
    picture = bright(SIZE, BOX)
    shown = {score: next(detector.predict(picture, score=score)).names for score in (None, 0.3, 0.31, 0.99)}
    assert shown == {None: ["warm"], 0.3: ["warm", "whole"], 0.31: ["warm"], 0.99: []}
    stored = metadata(thresholds={"warm": 0.99, "whole": 0.2, "cold": None})
    (found,) = runtime.load(write_onnx(tmp_path / "m.onnx", stored)).predict(picture)
    assert found.names == ["whole"]


def test_the_documented_program_runs_from_a_copied_file_without_torch(tmp_path):
    """As a user does it who has copied the one file and has neither torch nor this library."""
    page = (Path(__file__).parents[1] / "docs" / "runtime.md").read_text("utf-8")
    program = next(part for part in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "import runtime" in part)
    (tmp_path / "runtime.py").write_bytes(Path(runtime.__file__).read_bytes())
    write_onnx(tmp_path / "model.onnx")
    for name, colour in (("a.jpg", (250, 40, 40)), ("b.jpg", (40, 40, 250)), ("c.jpg", (30, 30, 30))):
        Image.fromarray(bright((128, 160), (16, 32, 80, 96), colour)).save(tmp_path / name, quality=95)
    bare = "import sys; sys.modules['torch'] = sys.modules['rcnn'] = None\n"
    command = [sys.executable, "-c", bare + program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    first, *lines = done.stdout.splitlines()
    assert first == "('warm', 'cold', 'whole') {}"
    assert [line.partition(" 0.9")[0] for line in lines] == ["a.jpg: warm", "b.jpg: cold"]
    assert all(line.endswith(" at 16,32 to 80,96") for line in lines)


@pytest.mark.parametrize("after", [(40, 50), (64, 80), (61, 77), (130, 163), (1, 1), (200, 31)])
def test_pictures_are_resized_as_the_library_does_to_the_bit(after):
    picture = noise(SIZE)
    canvas = np.empty((*after, 3), np.float32)
    resize(picture, after, LEVELS, canvas)
    own = runtime.resize(picture, after)
    np.testing.assert_array_equal(own, canvas)
    np.testing.assert_array_equal(np.rint(own), np.rint(canvas))


@pytest.mark.parametrize("bucket", ["coarse", "exact32", "exact"])
@pytest.mark.parametrize("how", ["bilinear", "pillow"])
def test_sizes_and_canvases_are_those_of_the_library(bucket, how):
    rng = np.random.default_rng(1)
    for short, long in ((64, 96), (320, 533), (800, 1333)):
        seen = input_of(short=short, long=long, bucket=bucket, resize=how)
        known = Preprocess(short, long, bucket, resize=how)
        for size in rng.integers(1, 3000, (200, 2)).tolist():
            resized = seen.resized(tuple(size))
            assert resized == known.resized(tuple(size))
            assert seen.canvas(resized) == known.canvas(resized)


@pytest.mark.parametrize("how", ["bilinear", "pillow"])
@pytest.mark.parametrize(
    ("dtype", "channels", "limits"),
    [
        (np.uint8, 3, None),
        (np.uint8, 3, (20.0, 200.0)),
        (np.uint8, 5, None),
        (np.uint16, 1, None),
        (np.float32, 2, (0.0, 1.0)),
    ],
)
def test_normalised_numbers_are_those_of_the_library(how, dtype, channels, limits):
    mean, std = (0.5, 0.4, 0.3, 0.2, 0.1)[:channels], (0.2, 0.3, 0.25, 0.2, 0.1)[:channels]
    known = Preprocess(64, 96, "coarse", mean, std, how, limits)
    seen = input_of(kind="normalised", resize=how, channels=channels, mean=mean, std=std, range=limits)
    picture = noise((90, 110), channels, dtype)
    size = known.resized((90, 110))
    batch = known.lay_out([picture], [size], known.canvas(size), 1)
    wanted = batch.images[0, :, : size[0], : size[1]].permute(1, 2, 0)
    np.testing.assert_allclose(seen.numbers(picture), wanted, atol=1e-5)


def test_values_that_the_graph_cannot_take_are_refused():
    with pytest.raises(runtime.PictureError, match="takes 8 bits; export with --input normalised") as error:
        input_of().numbers(noise(SIZE, dtype=np.uint16))
    said(error)
    with pytest.raises(runtime.PictureError, match="has no range for it"):
        input_of(kind="normalised").numbers(noise(SIZE, dtype=np.float32))


def saved(folder, name):
    """A picture file of some kind."""
    colours, file = noise((12, 17)), folder / name
    kinds = {
        "rgba.png": lambda: Image.fromarray(noise((12, 17), 4)),
        "palette.png": lambda: Image.fromarray(colours).quantize(7),
        "deep.png": lambda: Image.fromarray(noise((12, 17), 1, np.uint16)[..., 0]),
        "gray.png": lambda: Image.fromarray(colours[..., 0]),
        "cmyk.jpg": lambda: Image.fromarray(colours).convert("CMYK"),
        "plain.tif": lambda: Image.fromarray(colours),
    }
    if name in kinds:
        kinds[name]().save(file)
        return file
    turned = Image.fromarray(colours)
    exif = turned.getexif()
    exif[0x0112] = int(name[5])
    turned.save(file, exif=exif)
    return file


TURNED = [f"turn_{turn}.{form}" for turn in range(1, 9) for form in ("jpg", "tif")]


@pytest.mark.parametrize("name", ["rgba.png", "palette.png", "deep.png", "gray.png", "cmyk.jpg", "plain.tif", *TURNED])
def test_picture_files_are_read_as_the_library_reads_them(tmp_path, name):
    file = saved(tmp_path, name)
    for channels in (3, 1):
        own, known = runtime.read(file, channels), read_pixels(file, channels)
        assert own.dtype == known.dtype
        np.testing.assert_array_equal(own, known)


def test_pictures_that_cannot_be_used_are_one_line(tmp_path, detector):
    cut, text = tmp_path / "cut.png", tmp_path / "text.jpg"
    Image.fromarray(noise((100, 100))).save(cut)
    cut.write_bytes(cut.read_bytes()[:9000])
    text.write_text("no picture")
    large = tmp_path / "large.png"
    Image.new("RGB", (1001, 1000)).save(large)
    for bad in (cut, text, tmp_path / "missing.png", large, noise(SIZE, 4), np.zeros((0, 3, 3), np.uint8)):
        with pytest.raises(runtime.PictureError) as error:
            next(detector.predict(bad))
        said(error)


@BOTH
def test_regions_are_handed_over_in_pixels_of_the_canvas(tmp_path, suffix):
    about = metadata(proposals={"mode": "fast", "most": 10})
    detector = runtime.load(write_exported(tmp_path / f"m{suffix}", about))
    pictures = [bright(SIZE, BOX), bright((128, 160), BOX)]
    regions = [np.array([[1, 2, 3, 4.5]]), np.array([[3, 2, 30, 40], [2, 1, 10, 50], [0, 0, 1, 1]], np.float32)]
    for batch in (1, 2):
        first, second = detector.predict(pictures, batch, proposals=regions)
        np.testing.assert_allclose(first.boxes, [[1, 2, 3, 4.5]], atol=1e-4)
        np.testing.assert_allclose(second.boxes, [[3, 2, 30, 50]], atol=1e-4)
        assert (first.scores.tolist(), second.scores.tolist()) == ([1.0], [3.0])  # it counts the valid ones
    with pytest.raises(runtime.ModelFileError, match="makes no proposals; give those of each picture") as error:
        next(detector.predict(pictures[0]))
    said(error)


def without(key, about=None):
    about = about or metadata()
    return json.dumps({name: value for name, value in about.items() if name != key})


BROKEN = {
    "foreign": (lambda file: write_exported_text(file, ""), "no detector of rcnn"),
    "newer": (lambda file: write_exported_text(file, '{"format_version": 2}'), "format 2, and 1 is the newest"),
    "no text": (lambda file: write_exported_text(file, "{"), "its metadata are broken"),
    "part": (lambda file: write_exported_text(file, without("class_names")), "broken .*no class_names"),
    "part of input": (lambda file: write_exported_text(file, json.dumps(metadata() | {"input": {}})), "no bucket"),
    "no outputs": (
        lambda file: write_exported(file, metadata(outputs=("scores", "labels"))),
        "it gives no boxes, count, as a detector does",
    ),
    "other inputs": (
        lambda file: write_exported_text(file, json.dumps(metadata(kind="picture"))),
        "takes images, original_sizes, sizes, as no detector does",
    ),
    "cut": (lambda file: cut(write_exported(file)), "cannot use it"),
    "text": (lambda file: write_text(file, "hello"), "cannot use it|no model of OpenVINO"),
    "empty": (lambda file: file.write_bytes(b""), "cannot use it|no such file"),
    "missing": (lambda file: None, "no such file"),
}


WRONG = {
    "class_names": [3, [], "abc", [1], ["a", "a"]],
    "thresholds": [[], {"warm": "high"}, {"warm": float("nan")}],
    "category_ids": [3, {"warm": "1"}],
    "batch": [0, "2", 1.5, True],
    "proposals": [{}, 3, {"mode": "fast"}, {"mode": "fast", "most": 0}, {"mode": "slow", "most": 9}],
    "precision": ["fp61", None],
    "kind": ["bytes", None],
    "short": [0, -1, "64", 1.5],
    "long": [None],
    "bucket": ["fine"],
    "resize": ["nearest"],
    "channels": [0, "3", 1],
    "mean": ["abc", [], [0.5], ["a", "b", "c"], [0.5, 0.5, float("inf")]],
    "std": [[0.2, 0.2, 0], None],
    "range": [[0], [1, 0], "01"],
    "max_pixels": [0],
}


@pytest.mark.parametrize("key", WRONG)
def test_metadata_of_a_wrong_kind_are_a_line_that_names_the_file(key):
    for value in WRONG[key]:
        with pytest.raises(runtime.ModelFileError, match=r"^model\.onnx: its metadata are broken \(.*\)") as error:
            runtime.described(Path("model.onnx"), json.dumps(metadata(**{key: value})))
        said(error)
    assert runtime.described(Path("model.onnx"), json.dumps(metadata()))


def test_no_other_precision_is_known(model):
    with pytest.raises(runtime.ModelFileError, match=r"model\.onnx: no precision 'fp61' is known") as error:
        runtime.open_engine(model, precision="fp61")
    said(error)


def write_exported_text(file, text):
    return (write_onnx if file.suffix == ".onnx" else write_openvino)(file, None, text)


def write_text(file, text):
    file.with_suffix(".bin").touch()
    file.write_text(text)


def cut(file):
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


@BOTH
@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_is_no_detector_is_one_line_that_names_it(tmp_path, capfd, suffix, kind):
    file = tmp_path / f"model{suffix}"
    make, words = BROKEN[kind]
    make(file)
    with pytest.raises(runtime.ModelFileError, match=words) as error:
        runtime.load(file)
    assert said(error).startswith(str(file.with_suffix("")))
    assert capfd.readouterr().err == ""


def test_a_missing_or_cut_bin_is_named(tmp_path):
    file = write_openvino(tmp_path / "model.xml")
    cut(tmp_path / "model.bin")
    with pytest.raises(runtime.ModelFileError, match=r"model\.xml: openvino cannot use it") as error:
        runtime.load(file)
    said(error)
    (tmp_path / "model.bin").unlink()
    with pytest.raises(runtime.ModelFileError, match=r"model\.bin: no such file"):
        runtime.load(file)


@BOTH
def test_a_missing_engine_is_told_with_the_package_to_install(tmp_path, monkeypatch, suffix):
    file, package = tmp_path / f"model{suffix}", {".onnx": "onnxruntime", ".xml": "openvino"}[suffix]
    file.touch()
    file.with_suffix(".bin").touch()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(runtime.ModelFileError, match=f"needs {package} .*; pip install {package}") as error:
        runtime.load(file)
    said(error)


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(runtime.ModelFileError, match=r"model\.pt2: neither \.onnx nor \.xml"):
        runtime.load(tmp_path / "model.pt2")


class Recorded:
    """An OpenVINO of a processor that has `abilities`, which keeps how a model is compiled."""

    def __init__(self, about, *abilities):
        self.about, self.abilities, self.config = about, abilities, None

    def Core(self):  # noqa: N802
        return self

    def read_model(self, path):
        text = SimpleNamespace(astype=lambda kind: json.dumps(self.about))
        inputs = [SimpleNamespace(any_name=name) for name in ("images", "sizes", "original_sizes")]
        outputs = [SimpleNamespace(names={name}) for name in runtime.OUTPUTS]
        return SimpleNamespace(
            has_rt_info=lambda key: True, get_rt_info=lambda key: text, inputs=inputs, outputs=outputs
        )

    def get_property(self, device, name):
        return ["FP32", *self.abilities]

    def compile_model(self, model, device, config):
        self.config = config
        return SimpleNamespace(create_infer_request=lambda: None)


@pytest.mark.parametrize(
    ("stored", "asked", "abilities", "hint"),
    [
        ("bf16", None, ["BF16"], "bf16"),
        ("bf16", None, [], "f32"),
        ("bf16", "fp32", ["BF16"], "f32"),
        ("fp32", None, ["BF16"], "f32"),
        ("int8", None, ["BF16"], "f32"),
        ("fp32", "bf16", ["BF16"], "bf16"),
    ],
)
def test_openvino_computes_in_the_files_precision_where_the_processor_can(tmp_path, stored, asked, abilities, hint):
    library = Recorded(metadata(precision=stored), *abilities)
    (tmp_path / "model.xml").write_text("<net>")
    runtime._openvino(library, tmp_path / "model.xml", 3, asked)
    assert library.config["INFERENCE_PRECISION_HINT"] == hint
    assert library.config["INFERENCE_NUM_THREADS"] == "3"


def test_bf16_is_refused_where_there_is_none(tmp_path, model):
    (tmp_path / "model.xml").write_text("<net>")
    with pytest.raises(runtime.ModelFileError, match="this processor has no bf16"):
        runtime._openvino(Recorded(metadata()), tmp_path / "model.xml", None, "bf16")
    with pytest.raises(runtime.ModelFileError, match="ONNX Runtime has no bf16"):
        runtime.load(model, precision="bf16")


def test_the_engine_alone_takes_and_gives_arrays_by_name(model):
    engine = runtime.open_engine(model, threads=1)
    assert engine.metadata["class_names"] == list(CLASSES)
    sizes = np.array([SIZE])
    canvas = np.zeros((1, 64, 96, 3), np.uint8)
    canvas[0, :, :80] = bright(SIZE, BOX)
    found = engine.run(images=canvas, sizes=sizes, original_sizes=sizes * 2)
    assert found["boxes"].shape == (1, 3, 4)
    assert found["boxes"][0, 0].tolist() == [2 * side for side in BOX]
    assert found["count"].tolist() == [2]
    assert found["labels"].tolist() == [[1, 3, 0]]
