"""From pictures to detections: by the library's detector and by `rcnn predict`."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import COLOURS, prepare, shape_sample, tiny_config
from PIL import Image

from rcnn import api
from rcnn.cli import main
from rcnn.cli.picture_files import drawn_names, find_pictures
from rcnn.cli.predict import by_picture
from rcnn.errors import ConfigError, DataError, RcnnError
from rcnn.presets.overrides import override
from rcnn.proposals.files import ProposalTable, write_proposals
from rcnn.sample import DataSet, Sample

pytestmark = pytest.mark.usefixtures("quiet_log")
SIZES = [(64, 80), (80, 64), (64, 64), (30, 90), (64, 80), (128, 160), (20, 20)]


@pytest.fixture(scope="module")
def detector(run):
    return api.load(run, "cpu")


@pytest.fixture
def pictures(tmp_path):
    """Good pictures of several sizes and kinds in a folder."""
    folder = tmp_path / "pictures"
    (folder / "deeper").mkdir(parents=True)
    for number, size in enumerate(SIZES):
        Image.fromarray(shape_sample(f"p{number}", size, 1).picture).save(folder / f"p{number}.png")
    shutil.move(folder / "p1.png", folder / "deeper" / "p1.png")
    return folder


def predict(run, *words):
    return main(["predict", str(run), *map(str, words), "--device", "cpu", "--score", "0"])


def close(first, second):
    same = len(first) == len(second) and torch.equal(first.labels, second.labels)
    return same and all(torch.allclose(getattr(first, n), getattr(second, n), atol=1e-3) for n in ("boxes", "scores"))


def test_a_view_of_a_detector_looks_with_the_network_that_it_is_given(detector):
    array = shape_sample("one", SIZES[0], 1).picture
    other = detector.looking_at(detector.preprocess)
    model = detector.model
    other.look_with(model.limited(replace(model.limits, after=1)))
    assert len(next(other.stages(array)).proposals.boxes[0]) == 1
    assert not close(next(other.predict(array)), next(detector.predict(array)))


@pytest.mark.parametrize("batch", [2, 3, 7, 50])
def test_results_are_those_of_each_picture_alone_in_the_order_of_the_input(detector, batch):
    arrays = [shape_sample(f"p{number}", size, 1).picture for number, size in enumerate(SIZES)]
    alone = [next(detector.predict(array)) for array in arrays]
    together = list(detector.predict(arrays, batch))
    assert len(alone) == len(together) == len(arrays)
    for array, one, other in zip(arrays, alone, together, strict=True):
        assert len(one) > 0
        assert close(one, other)
        assert (one.boxes[:, 2] <= array.shape[1] + 1e-3).all()
        assert (one.boxes[:, 3] <= array.shape[0] + 1e-3).all()


def test_paths_arrays_and_functions_give_the_same(detector, tmp_path):
    array, path = shape_sample("a").picture, tmp_path / "a.png"
    Image.fromarray(array).save(path)
    read_only = np.asarray(Image.open(path))
    first, *others = (next(detector.predict(source)) for source in (array, path, str(path), lambda: array, read_only))
    assert all(close(first, other) for other in others)
    assert len(list(detector.predict(iter([path, array])))) == 2


def test_scores_below_the_least_one_are_left_out_and_the_rest_is_sorted(detector):
    found = next(detector.predict(shape_sample("a").picture))
    middle = float(found.scores.median())
    kept = next(detector.predict(shape_sample("a").picture, score=middle))
    assert 0 < len(kept) < len(found)
    assert kept.scores.min() >= middle
    assert (found.scores.diff() <= 0).all()
    assert set(found.names) <= set(COLOURS)


def test_a_picture_that_is_none_stops_predict_and_only_marks_predict_each(detector, tmp_path):
    good, bad = shape_sample("a").picture, tmp_path / "missing.png"
    results = list(detector.predict_each([good, bad, good], batch=2))
    assert isinstance(results[1], DataError)
    assert close(results[0], results[2])
    with pytest.raises(DataError, match=r"missing\.png: no such picture"):
        list(detector.predict([good, bad, good], batch=2))


@pytest.mark.parametrize("array", [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((2, 4, 4, 3), np.uint8)])
def test_an_array_of_another_form_is_refused(detector, array):
    with pytest.raises(DataError, match="give an RGB array of uint8"):
        next(detector.predict([lambda: array]))


def test_a_batch_of_no_pictures_is_refused(detector):
    with pytest.raises(ConfigError, match="batch: is 0"):
        list(detector.predict([shape_sample("a").picture], batch=0))
    assert list(detector.predict([])) == []


def test_the_last_weights_and_a_file_can_be_loaded_too(run, detector):
    picture = shape_sample("a").picture
    found = next(detector.predict(picture))
    for source, which in ((run, "last"), (run / "model.safetensors", "best"), (str(run), "best")):
        assert close(found, next(api.load(source, "cpu", which=which).predict(picture)))


def test_a_folder_is_predicted_with_all_below_it(run, pictures, tmp_path, capsys):
    out = tmp_path / "found"
    assert predict(run, pictures, "--out", out, "--batch", 3) == 0
    assert sorted(file.name for file in out.iterdir()) == [f"p{number}.jpg" for number in range(len(SIZES))]
    printed = capsys.readouterr().out
    assert printed.endswith(f"{len(SIZES)} of {len(SIZES)} pictures drawn in {out}\n")
    order = [line.partition(": ")[0] for line in printed.splitlines()[:-1]]
    assert order == [str(file) for file in find_pictures([str(pictures)])]
    with Image.open(out / "p0.jpg") as drawn:
        assert drawn.size == (80, 64)


def test_files_folders_and_patterns_are_each_looked_at_once(pictures):
    words = [str(pictures / "p3.png"), str(pictures / "p[23].png"), str(pictures), str(pictures / "**" / "p1.png")]
    found = [file.name for file in find_pictures(words)]
    assert found == ["p3.png", "p2.png", "p1.png", "p0.png", "p4.png", "p5.png", "p6.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    path = tmp_path / "a[1].png"
    path.touch()
    assert find_pictures([str(path)]) == [path]


def test_an_argument_that_names_no_picture_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    for word in (tmp_path, tmp_path / "*.jpg", tmp_path / "none.jpg"):
        with pytest.raises(RcnnError, match="no picture there; give files, folders, or patterns"):
            find_pictures([str(word)])


def test_the_json_file_holds_coco_results_with_names(run, pictures, tmp_path):
    target = tmp_path / "new" / "found.json"
    assert predict(run, pictures, "--out", tmp_path / "out", "--json", target) == 0
    rows = json.loads(target.read_text("utf-8"))
    files = [str(file) for file in find_pictures([str(pictures)])]
    assert {row["file_name"] for row in rows} == set(files)
    for row in rows:
        assert row.keys() == {"image_id", "file_name", "category_id", "category_name", "bbox", "score"}
        assert row["category_name"] == tuple(COLOURS)[row["category_id"] - 1]
        assert files[row["image_id"] - 1] == row["file_name"]
        assert 0 <= row["score"] <= 1
        x, y, width, height = row["bbox"]
        assert min(x, y) >= 0
        assert min(width, height) > 0
    assert [row["image_id"] for row in rows] == sorted(row["image_id"] for row in rows)


def test_numbers_alone_are_written_without_drawing(run, pictures, tmp_path, capsys, monkeypatch):
    drawn, alone = tmp_path / "drawn.json", tmp_path / "alone.json"
    assert predict(run, pictures, "--out", tmp_path / "out", "--json", drawn) == 0
    monkeypatch.setattr("rcnn.cli.predict.draw", None)
    capsys.readouterr()
    assert predict(run, pictures, "--json", alone) == 0
    assert alone.read_bytes() == drawn.read_bytes()
    assert "drawn in" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"), [(["a.png"], "--out: missing; give --out"), (["a.mp4", "--json", "x.json"], "a.mp4: a film")]
)
def test_neither_a_folder_nor_a_file_of_numbers_is_refused(run, tmp_path, capsys, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("a.png")
    assert predict(run, *words) == 2
    assert capsys.readouterr().err.startswith(f"rcnn: {said}")


def test_a_broken_picture_among_good_ones_is_reported_and_skipped(run, pictures, tmp_path, capsys):
    bad = pictures / "p2.png"
    bad.write_bytes(bad.read_bytes()[:500])
    (pictures / "p4.png").write_text("no picture at all")
    target = tmp_path / "found.json"
    assert predict(run, pictures, "--out", tmp_path / "out", "--batch", 4, "--json", target) == 1
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"rcnn: skipped {bad}: cannot be decoded")
    assert lines[1].startswith(f"rcnn: skipped {pictures / 'p4.png'}: not a picture")
    assert told.out.splitlines()[-1].startswith(f"{len(SIZES) - 2} of {len(SIZES)} pictures drawn")
    assert len(list((tmp_path / "out").iterdir())) == len(SIZES) - 2
    assert {row["image_id"] for row in json.loads(target.read_text())} == {1, 2, 4, 6, 7}


def test_gray_transparent_and_turned_pictures_are_drawn_as_they_are_shown(run, tmp_path):
    image = Image.fromarray(shape_sample("a", (64, 80)).picture)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.convert("L").save(tmp_path / "gray.png")
    image.convert("RGBA").save(tmp_path / "clear.png")
    image.convert("P").save(tmp_path / "palette.gif")
    out = tmp_path / "out"
    assert (
        predict(run, *(tmp_path / n for n in ("turned.jpg", "gray.png", "clear.png", "palette.gif")), "--out", out) == 0
    )
    sizes = {}
    for file in out.iterdir():
        with Image.open(file) as drawn:
            sizes[file.stem] = drawn.size
    assert sizes == {"turned": (64, 80), "gray": (80, 64), "clear": (80, 64), "palette": (80, 64)}


def test_pictures_of_one_name_do_not_replace_each_other(run, pictures, tmp_path):
    shutil.copy(pictures / "p0.png", pictures / "deeper" / "p0.png")
    shutil.copy(pictures / "p0.png", pictures / "p0.jpeg")
    shutil.copy(pictures / "p0.png", pictures / "p0-2.png")
    files = find_pictures([str(pictures)])
    names = drawn_names(files)
    assert len(set(names.values())) == len(files) == len(SIZES) + 3
    assert predict(run, pictures, "--out", tmp_path / "out") == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == set(names.values())


def test_the_pictures_themselves_are_never_replaced(run, tmp_path, capsys):
    path = tmp_path / "a.jpg"
    Image.fromarray(shape_sample("a").picture).save(path)
    before = path.read_bytes()
    assert predict(run, path, "--out", tmp_path) == 2
    error = capsys.readouterr().err
    assert error == f"rcnn: {path}: one of the pictures, which would be replaced; give --out another folder\n"
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("out", ["file", "file/inside"])
def test_a_file_in_place_of_the_folder_is_refused(run, pictures, tmp_path, capsys, out):
    (tmp_path / "file").touch()
    assert predict(run, pictures, "--out", tmp_path / out) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_empty_folder_is_one_line_and_makes_nothing(run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert predict(run, tmp_path / "empty", "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err == (
        f"rcnn: {tmp_path / 'empty'}: no picture there; give files, folders, or patterns such as 'photos/*.jpg'\n"
    )
    assert not (tmp_path / "out").exists()


def test_no_more_detections_than_asked_for_are_drawn_and_written(run, pictures, tmp_path):
    counts = {}
    for name, words in (("all", ()), ("two", ("--max-detections", 2))):
        target = tmp_path / f"{name}.json"
        assert predict(run, pictures / "p0.png", "--out", tmp_path / name, "--json", target, *words) == 0
        counts[name] = [row["score"] for row in json.loads(target.read_text("utf-8"))]
    assert counts["two"] == sorted(counts["all"], reverse=True)[:2]
    assert len(counts["all"]) > 2


@pytest.fixture(scope="module")
def searching(voc, tmp_path_factory):
    """A Fast R-CNN of random weights, which needs regions."""
    out = tmp_path_factory.mktemp("runs") / "fast"
    config = override(tiny_config(epochs=1), None, (), {"model.method": "fast-rcnn"})
    dataset = api.read_data(voc)
    samples = {name: [replace(s, proposals=s.boxes) for s in part] for name, part in dataset.splits.items()}
    prepare(DataSet(samples, dataset.class_names), out, config).training.run()
    return out


@pytest.mark.parametrize("form", ["safetensors", "json"])
def test_regions_of_a_file_are_found_by_the_pictures_names(form, searching, pictures, tmp_path):
    file, box = tmp_path / f"regions.{form}", np.array([[10, 10, 40, 40]], np.float32)
    if form == "json":
        file.write_text(json.dumps([{"file_name": "p0.png", "bbox": [10, 10, 30, 30], "score": 1.0}]))
    else:
        write_proposals(file, ProposalTable("x", {}, {"p0": box}, {"p0": np.ones(1)}))
    target = tmp_path / "found.json"
    words = ["--proposals", file, "--out", tmp_path / "out", "--json", target]
    assert predict(searching, pictures / "p0.png", *words) == 0
    detector = api.load(searching, "cpu")
    wanted = next(detector.predict(Sample("p0", pictures / "p0.png", proposals=box)))
    assert len(wanted) == len(json.loads(target.read_text("utf-8"))) > 0


def test_a_picture_of_which_the_file_of_regions_knows_nothing_is_named(searching, pictures, tmp_path, capsys):
    file = tmp_path / "regions.safetensors"
    write_proposals(file, ProposalTable("x", {}, {"other": np.zeros((0, 4))}, {"other": np.zeros(0)}))
    assert predict(searching, pictures / "p0.png", "--proposals", file, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"rcnn: {pictures / 'p0.png'}: has no proposals in ")
    assert not (tmp_path / "out").exists()


def test_a_name_that_two_pictures_share_tells_nothing():
    regions = {name: np.zeros((0, 4), np.float32) for name in ("a", "b", "x/c.png")}
    files = [Path(name) for name in ("x/a.png", "y/a.png", "x/b.png", "x/c.png")]
    assert list(by_picture(regions, files)) == ["x/c.png", "x/b.png"]
