"""Detections as a file, and one file under every protocol."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import shape_sample
from test_evaluation_coco import NAMES, detections, random_case, sample

from rcnn.api import measuring
from rcnn.api.measuring import Predicted
from rcnn.api.predictions import read_predictions, write_predictions
from rcnn.cli import main
from rcnn.errors import DataError
from rcnn.evaluation import evaluate
from rcnn.evaluation.doubt import doubts
from rcnn.evaluation.side_by_side import side_by_side
from rcnn.inference.predictor import Detector
from rcnn.sample import DataSet

ROW = {"image_id": 7, "category_id": 9, "bbox": [1, 2, 3, 4], "score": 0.5}


def data(**changes):
    samples = [replace(shape_sample(f"p{n}"), coco_id=7 + n) for n in range(2)]
    plain = DataSet({"test": samples[:1], "val": samples[1:]}, ("disc", "square"), {"disc": 9, "square": 4})
    return replace(plain, **changes)


def file_of(tmp_path, *rows):
    path = tmp_path / "found.json"
    path.write_text(json.dumps(rows))
    return path


def test_what_is_written_is_read_to_the_last_bit(tmp_path):
    samples, found = random_case(0)
    dataset = DataSet({"test": samples}, NAMES)
    path = tmp_path / "new" / "found.json"
    write_predictions(path, Predicted(samples, found, NAMES), dataset)
    again = read_predictions(path, dataset, "test").detections
    for before, after in zip(found, again, strict=True):
        order = torch.argsort(before.scores, descending=True, stable=True)
        assert torch.equal(before.boxes[order], after.boxes)
        assert torch.equal(before.scores[order], after.scores)
        assert torch.equal(before.labels[order], after.labels)
    metrics = [evaluate(samples, each, NAMES, "coco").metrics for each in (again, found)]
    assert metrics[0] == pytest.approx(metrics[1], nan_ok=True, abs=0)


def test_a_plain_coco_file_is_read_by_the_numbers_of_a_coco_data_set(tmp_path):
    path = file_of(tmp_path, ROW, ROW | {"category_id": 4, "score": 0.9}, ROW | {"image_id": 8})
    read = read_predictions(path, data(), "test")
    (found,) = read.detections
    assert found.names == ["square", "disc"]
    assert found.boxes[0].tolist() == [1, 2, 4, 6]
    assert read.notes == (f"{path}: has 1 pictures of other splits too; they are left out",)


WRONG = {
    "no JSON": ("{", "cannot be read as JSON"),
    "no list": ("{}", "not COCO's results, a list"),
    "no entry": ("[3]", "entry 1: is no object"),
    "no box": ([{"image_id": 7, "category_id": 9, "score": 1}], "lacks a bbox of x, y, width, height, or a score"),
    "a number beyond floats": ([ROW | {"score": 10**400}], "lacks a bbox of x, y, width, height, or a score"),
    "no pixels": ([ROW | {"bbox": [0, 0, 10**400, 4]}], "lacks a bbox of x, y, width, height, or a score"),
    "no number": ([ROW | {"score": float("nan")}], "lacks a bbox of x, y, width, height, or a score"),
    "negative": ([ROW | {"bbox": [9, 9, -3, 4]}], "has a side below 0"),
    "no picture": ([ROW | {"image_id": 70}], "picture 70 is none of the data"),
    "a picture nearly": ([ROW | {"file_name": "pn0"}], "did you mean 'p0'?"),
    "no class": ([ROW | {"category_id": 1}], "category_id 1 is not in the data, which has 4, 9"),
    "a class nearly": ([ROW | {"category_name": "disk"}], "(disc, square); did you mean 'disc'?"),
}


@pytest.mark.parametrize("case", WRONG)
def test_pain_15_a_file_that_does_not_fit_is_one_line_with_the_entry_and_a_suggestion(case, tmp_path):
    content, message = WRONG[case]
    path = tmp_path / "found.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError) as error:
        read_predictions(path, data(), "test")
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_numbers_mean_nothing_where_the_data_has_none(tmp_path):
    samples = [shape_sample("p0")]
    plain = DataSet({"test": samples}, ("disc", "square"))
    with pytest.raises(DataError, match="the data does not number its pictures; give file_name"):
        read_predictions(file_of(tmp_path, ROW), plain, "test")
    with pytest.raises(DataError, match="the data does not number classes; give category_name"):
        read_predictions(file_of(tmp_path, ROW | {"file_name": "p0"}), plain, "test")


def test_gap_10_one_file_is_measured_under_every_protocol_without_a_model(run, voc, tmp_path, capsys):
    saved, numbers, again = (tmp_path / name for name in ("found.json", "run.json", "file.json"))
    words = ["--device", "cpu", "--save-predictions", str(saved), "--json", str(numbers)]
    assert main(["evaluate", str(run), str(voc), *words]) == 0
    capsys.readouterr()
    assert main(["evaluate", "--predictions", str(saved), str(voc), "--protocol", "all", "--json", str(again)]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("VOC 2007", "VOC 2010", "COCO, difficult counted", "COCO, no cap"))
    first, second = (json.loads(path.read_text()) for path in (numbers, again))
    assert second.pop("protocols")["pictures"] == 3
    assert first | {"seconds_per_image": None} == second


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{voc}"], "give a run and the data, as in rcnn evaluate RUN DATA, or --predictions FILE DATA"),
        (["{run}", "{voc}", "--predictions", "x.json"], "beside --predictions give the data alone"),
        (["--predictions", "{run}/config.yaml", "{voc}"], "cannot be read as JSON"),
    ],
)
def test_a_run_or_a_file_is_measured_and_not_both_or_none(words, message, run, voc, capsys):
    assert main(["evaluate", *(word.format(run=run, voc=voc) for word in words)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_the_truth_is_checked_before_any_picture_is_looked_at(run, voc, monkeypatch, capsys):
    def refuse(*_):
        raise DataError("truth: cannot be found")

    looked = []
    monkeypatch.setattr(measuring, "check_protocol", refuse)
    monkeypatch.setattr(Detector, "predict", lambda *_: looked.append(True) or iter(()))
    for command in ("evaluate", "report"):
        assert main([command, str(run), str(voc), "--device", "cpu"]) == 2
        assert capsys.readouterr().err.endswith("truth: cannot be found\n")
    assert not looked


def crowded():
    """Three objects, one difficult; twelve detections of a class; one class without objects."""
    boxes = [[0, 0, 40, 40], [100, 0, 140, 40], [200, 0, 240, 40]]
    truth = sample(boxes, ["cat"] * 3, difficult=np.array([False, False, True]))
    away = [[300 + 20 * n, 0, 310 + 20 * n, 10] for n in range(9)]
    found = detections([[0, 0, 40, 36], boxes[1], boxes[2], *away], np.linspace(0.9, 0.3, 12), [1] * 12)
    return [truth], [found]


def test_pain_11_each_number_is_that_of_its_protocol_and_every_reason_is_of_this_data():
    samples, found = crowded()
    told = side_by_side(samples, found, NAMES)
    by_name = {variant.name: variant for variant in told.variants}
    for name, protocol in (("VOC 2007: 11 points", "voc07"), ("VOC 2010: area", "voc")):
        assert evaluate(samples, found, NAMES, protocol).metrics["mAP"] == by_name[name].AP50
    for name, cap in (("COCO", 100), ("COCO, best 1 of a class", 1), ("COCO, best 10 of a class", 10)):
        metrics = evaluate(samples, found, NAMES, "coco", cap).metrics
        assert (metrics["AP"], metrics["AP50"]) == (by_name[name].AP, by_name[name].AP50)
    counted = [replace(samples[0], difficult=np.zeros(3, bool))]
    assert evaluate(counted, found, NAMES, "coco").metrics["AP"] == by_name["COCO, difficult counted"].AP
    reasons = "\n".join(told.reasons)
    assert "difficult objects: 1;" in reasons
    assert "cap 1: pictures with more detections of one class: 1; objects beyond it, which must be missed: 1" in reasons
    assert "cap 10: pictures with more detections of one class: 1; VOC has no cap" in reasons
    assert "cap 100" not in reasons
    assert "no object of dog, bird, unseen here" in reasons
    assert "no detection has a score under 0.30: they were cut before" in reasons
    assert "crowd" not in reasons
    assert "of 2 hits at IoU 0.5, 2 are left at 0.75 and 1 at 0.95" in reasons


def test_reasons_that_do_not_apply_are_not_given():
    truth = sample([[0, 0, 40, 40]], ["cat"])
    told = side_by_side([truth], [detections([[0, 0, 40, 40]], [0.06], [1], ("cat",))], ("cat",))
    assert told.reasons == ()
    assert [variant.AP50 for variant in told.variants] == pytest.approx([1] * len(told.variants))


def many():
    rng = np.random.default_rng(0)
    samples, found = [], []
    for n in range(6):
        corner = rng.integers(0, 100, (4, 2)) + np.array([300, 0])
        boxes = np.concatenate([corner, corner + rng.integers(20, 60, (4, 2))], axis=1)
        labels = rng.integers(1, 4, 4)
        samples.append(sample(boxes, [NAMES[label - 1] for label in labels], str(n)))
        found.append(detections(boxes, rng.uniform(0.5, 1, 4), labels))
    return samples, found


MISTAKES = {
    "class numbers off by one": (lambda f: replace(f, labels=f.labels % 4 + 1), "the class numbers seem to be off by"),
    "classes exchanged": (
        lambda f: replace(f, labels=torch.tensor([0, 3, 1, 2])[f.labels]),
        "(detections of cat on dog, dog on bird, bird on cat)",
    ),
    "corners": (
        lambda f: replace(f, boxes=torch.cat([f.boxes[:, :2], f.boxes[:, :2] + f.boxes[:, 2:]], 1)),
        "the boxes seem to be x1, y1, x2, y2 instead of x, y, width, height",
    ),
    "x and y": (lambda f: replace(f, boxes=f.boxes[:, [1, 0, 3, 2]]), "the boxes seem to have x and y exchanged"),
    "shares": (lambda f: replace(f, boxes=f.boxes / 500), "the boxes seem to be shares of the picture"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_pain_7_where_map_is_0_although_boxes_look_right_the_cause_is_named(case):
    spoil, cause = MISTAKES[case]
    samples, found = many()
    told = doubts(samples, [spoil(each) for each in found], NAMES, lambda _: (500, 500))
    assert any(cause in line and "with that mended, mAP would be" in line for line in told), told


def test_where_detections_hit_nothing_is_doubted_and_none_at_all_is_said():
    samples, found = many()
    assert doubts(samples, found, NAMES) == ()
    nothing = [detections([], [], [])] * 6
    assert doubts(samples, nothing, NAMES) == ("there is no detection at all",)
