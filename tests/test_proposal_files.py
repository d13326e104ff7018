"""Proposals on disk: what is written is read, by this library and by others, and what is wrong is named."""

import json
from pathlib import Path

import numpy as np
import pytest
from oracles import boxes_in
from safetensors.numpy import load_file, save_file

from rcnn.errors import DataError
from rcnn.proposals.files import ProposalTable, attach, read_proposals, write_proposals
from rcnn.sample import DataSet, Sample

COUNTS = {"a": 3, "empty": 0, "häuser/b.jpg": 2}


def table(counts=COUNTS):
    boxes = {key: boxes_in(count, seed=place).numpy() for place, (key, count) in enumerate(counts.items())}
    scores = {key: np.linspace(1, 0.5, count, dtype=np.float32) for key, count in counts.items()}
    return ProposalTable("test", {"mode": "fast"}, boxes, scores)


def data(*samples):
    return DataSet({"train": list(samples)}, ())


def written(path, arrays=None, **metadata):
    """A proposals file as another program might write it: two pictures, two proposals and one."""
    given = {
        "boxes": np.array([[0, 0, 5, 5], [1, 1, 4, 4], [2, 2, 9, 9]], np.float32),
        "scores": np.array([0.9, 0.8, 0.7], np.float32),
        "offsets": np.array([0, 2, 3]),
    } | (arrays or {})
    head = {"format_version": 1, "kind": "proposals", "keys": ["a", "b"]} | metadata
    save_file(given, path, {"rcnn": json.dumps(head)})
    return path


@pytest.mark.parametrize("counts", [COUNTS, {}, {"only": 0}])
def test_what_is_written_is_read(counts, tmp_path):
    file, first = tmp_path / "p.safetensors", table(counts)
    write_proposals(file, first)
    again = read_proposals(file)
    assert (again.method, again.settings) == ("test", {"mode": "fast"})
    assert list(again.boxes) == list(again.scores) == list(counts)
    for key in counts:
        np.testing.assert_array_equal(again.boxes[key], first.boxes[key])
        np.testing.assert_array_equal(again.scores[key], first.scores[key])


def test_the_same_table_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_proposals(tmp_path / name, table())
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_file_is_as_documented(tmp_path):
    write_proposals(tmp_path / "p", table())
    arrays = load_file(tmp_path / "p")
    assert {name: (array.dtype.name, array.shape) for name, array in arrays.items()} == {
        "boxes": ("float32", (5, 4)),
        "scores": ("float32", (5,)),
        "offsets": ("int64", (4,)),
    }
    assert arrays["offsets"].tolist() == [0, 3, 3, 5]


def test_a_file_of_another_program_needs_no_more_than_boxes_scores_offsets_and_keys(tmp_path):
    read = read_proposals(written(tmp_path / "p.safetensors"))
    assert read.boxes["a"].tolist() == [[0, 0, 5, 5], [1, 1, 4, 4]]
    assert read.scores["b"].tolist() == pytest.approx([0.7])


WRONG = {
    "another kind": ({}, {"kind": "model"}, "holds no proposals; give a file that rcnn propose wrote"),
    "newer": ({}, {"format_version": 2}, "format 2, and this version reads up to 1; upgrade rcnn"),
    "too few keys": ({}, {"keys": ["a"]}, "do not fit together"),
    "a key twice": ({}, {"keys": ["a", "a"]}, "do not fit together"),
    "too few scores": ({"scores": np.ones(2, np.float32)}, {}, "do not fit together"),
    "offsets that fall": ({"offsets": np.array([0, 4, 3])}, {}, "do not fit together"),
    "offsets that end early": ({"offsets": np.array([0, 1, 2])}, {}, "do not fit together"),
    "no offsets": ({"offsets": np.zeros(0, np.int64)}, {}, "do not fit together"),
    "double precision": ({"boxes": np.ones((3, 4))}, {}, "do not fit together"),
    "boxes without area": ({"boxes": np.ones((3, 4), np.float32)}, {}, "do not fit together"),
    "not a number": ({"boxes": np.full((3, 4), np.nan, np.float32)}, {}, "do not fit together"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_file_is_refused_in_one_line(what, tmp_path):
    arrays, metadata, message = WRONG[what]
    file = written(tmp_path / "p.safetensors", arrays, **metadata)
    assert_refused(file, message)


def assert_refused(file, message, dataset=None):
    with pytest.raises(DataError) as problem:
        read_proposals(file, dataset)
    text = str(problem.value)
    assert message in text
    assert text.startswith(str(file))
    assert "\n" not in text


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_a_torn_file_is_refused_in_one_line(keep, tmp_path):
    file = written(tmp_path / "p.safetensors")
    file.write_bytes(file.read_bytes()[:keep])
    assert_refused(file, "not a whole safetensors file")


def test_a_missing_file_and_a_file_of_weights_are_refused(tmp_path):
    assert_refused(tmp_path / "gone", "no such file; make it with rcnn propose")
    save_file({"weight": np.ones(3)}, tmp_path / "weights")
    assert_refused(tmp_path / "weights", "holds no proposals")


def test_proposals_are_attached_to_their_samples():
    found = table({"a": 5, "b": 2, "other": 1})
    dataset = DataSet({"train": [Sample("b", "b.png")], "val": [Sample("a", "a.png")]}, ("x",), {"x": 3}, True)
    attached = attach(dataset, found, maximum=4)
    np.testing.assert_array_equal(attached.splits["train"][0].proposals, found.boxes["b"])
    np.testing.assert_array_equal(attached.splits["val"][0].proposals, found.boxes["a"][:4])
    assert (attached.class_names, attached.category_ids, attached.drawn) == (("x",), {"x": 3}, True)
    assert dataset.splits["train"][0].proposals is None


def test_a_picture_without_proposals_is_named():
    with pytest.raises(DataError, match=r"^c: has no proposals .* with rcnn propose$"):
        attach(data(Sample("a", "a.png"), Sample("c", "c.png")), table())


def coco(path, *entries):
    rows = [{"bbox": [1, 2, 10, 20], "score": 0.5} | entry for entry in entries]
    path.write_text(json.dumps(rows))
    return path


def test_coco_results_are_read_best_first(tmp_path):
    entries = [{"image_id": 7, "score": score, "bbox": [score, 2, 10, 20]} for score in (0.25, 1, 0.5)]
    read = read_proposals(coco(tmp_path / "r.json", *entries), data(Sample("x.jpg", "x.jpg", coco_id=7)))
    assert read.boxes["x.jpg"].tolist() == [[1, 2, 11, 22], [0.5, 2, 10.5, 22], [0.25, 2, 10.25, 22]]
    assert read.scores["x.jpg"].tolist() == [1, 0.5, 0.25]


NAMED = {
    "number": ({"image_id": 12}, "photos/x.jpg"),
    "sample id": ({"image_id": "plain"}, "plain"),
    "sample id with folder": ({"image_id": "photos/x.jpg"}, "photos/x.jpg"),
    "file without suffix": ({"image_id": "x"}, "photos/x.jpg"),
    "digits of a name": ({"image_id": "000034"}, "000034"),
    "file name before number": ({"image_id": 12, "file_name": "elsewhere/plain.png"}, "plain"),
    "windows path": ({"image_id": 1, "file_name": "C:\\photos\\x.jpg"}, "photos/x.jpg"),
}


@pytest.mark.parametrize("how", NAMED)
def test_a_picture_of_coco_results_is_known_by(how, tmp_path):
    entry, expected = NAMED[how]
    dataset = data(
        Sample("photos/x.jpg", Path("data/photos/x.jpg"), coco_id=12),
        Sample("plain", Path("data/JPEGImages/plain.jpg")),
        Sample("000034", Path("data/JPEGImages/000034.jpg")),
    )
    assert list(read_proposals(coco(tmp_path / "r.json", entry, {"image_id": "unknown"}), dataset).boxes) == [expected]


def test_a_name_that_two_pictures_share_means_neither(tmp_path):
    dataset = data(Sample("a/x.jpg", "a/x.jpg"), Sample("b/x.jpg", "b/x.jpg"))
    assert_refused(coco(tmp_path / "r.json", {"image_id": "x"}), "picture 'x' is not in the data", dataset)


def test_without_a_data_set_coco_results_keep_their_names(tmp_path):
    entries = [{"image_id": 5}, {"image_id": 6, "file_name": "x.jpg"}]
    assert list(read_proposals(coco(tmp_path / "r.json", *entries)).boxes) == ["5", "x.jpg"]


WRONG_RESULTS = {
    "no JSON": ("nonsense", "cannot be read as JSON"),
    "the truth": ('{"images": [], "annotations": []}', "give such a file, not the data's truth"),
    "no picture": ('[{"bbox": [1, 2, 3, 4], "score": 1}]', "entry 1: lacks image_id"),
    "no score": ('[{"image_id": 1, "bbox": [1, 2, 3, 4]}]', "entry 1: lacks a bbox"),
    "no width": ('[{"image_id": 1, "bbox": [1, 2, 0, 4], "score": 1}]', "entry 1: bbox has no area"),
    "a number that is none": ('[{"image_id": 1, "bbox": [1, 2, NaN, 4], "score": 1}]', "entry 1: lacks a bbox"),
    "a box of words": ('[{"image_id": 1, "bbox": ["1", 2, 3, 4], "score": 1}]', "entry 1: lacks a bbox"),
    "no entry": ('["nothing"]', "entry 1: is no object"),
}


@pytest.mark.parametrize("what", WRONG_RESULTS)
def test_wrong_coco_results_are_refused_in_one_line(what, tmp_path):
    text, message = WRONG_RESULTS[what]
    (tmp_path / "r.json").write_text(text)
    assert_refused(tmp_path / "r.json", message)
