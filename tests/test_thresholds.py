"""Thresholds for a stated precision or recall: chosen, stored in the run, used to predict."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import shape_sample
from test_evaluation_coco import detections, sample

from rcnn import api
from rcnn.analysis import class_curves, match
from rcnn.analysis.thresholds import thresholds_for
from rcnn.cli import main
from rcnn.errors import ConfigError
from rcnn.goal import Goal, parse_goal
from rcnn.runs import RunFolder, read_metadata

CLASSES = ("cat", "dog", "bird")


def curves():
    """Cats: right, false, right, right, false, right of six; one dog, always false first; no bird."""
    boxes = [[20 * n, 0, 20 * n + 10, 10] for n in range(6)]
    truth = sample([*boxes, [0, 100, 10, 110]], ["cat"] * 6 + ["dog"])
    away = [200, 200, 210, 210]
    found = [boxes[0], away, boxes[1], boxes[2], away, boxes[3], [300, 0, 310, 10], [0, 100, 10, 110]]
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.9, 0.3]
    seen = detections(found, scores, [1] * 6 + [2] * 2, CLASSES)
    return class_curves(match([truth], [seen], CLASSES))


def chosen(goal):
    return {threshold.name: threshold for threshold in thresholds_for(parse_goal(goal), curves())}


def by_trying(curve, goal):
    """Every score as a threshold, one after the other."""
    values = {}
    for score in set(curve.scores.tolist()):
        shown = curve.scores >= score
        right = curve.right[shown].sum()
        values[score] = right / shown.sum() if goal.quantity == "precision" else right / curve.objects
    enough = [score for score, value in values.items() if value >= goal.value]
    return (min if goal.quantity == "precision" else max)(enough) if enough else None


@pytest.mark.parametrize(
    "goal", ["precision=0.75", "precision=0.6", "precision=1", "recall=0.5", "recall=0.6", "recall=0.1"]
)
def test_gap_15_a_threshold_is_the_one_that_trying_all_scores_finds(goal):
    for curve, threshold in zip(curves()[:2], thresholds_for(parse_goal(goal), curves()), strict=False):
        expected = by_trying(curve, parse_goal(goal))
        assert threshold.reached == (expected is not None)
        if expected is not None:
            assert threshold.score == expected


def test_precision_takes_the_lowest_score_that_reaches_it_although_higher_ones_do_not():
    cat = chosen("precision=0.66")["cat"]
    assert (cat.score, cat.precision, cat.recall) == pytest.approx((0.4, 4 / 6, 4 / 6), abs=1e-6)


def test_a_class_that_cannot_reach_the_goal_says_how_near_it_comes_and_one_without_objects_nothing():
    dog, bird = chosen("precision=0.9")["dog"], chosen("precision=0.9")["bird"]
    assert (dog.reached, dog.precision) == (False, 0.5)
    assert (bird.reached, bird.objects) == (False, 0)
    assert bird.to_json() == {"score": None, "precision": None, "recall": None, "objects": 0, "detections": 0}
    assert math.isnan(bird.precision)


@pytest.mark.parametrize("text", ["precision", "precision=", "accuracy=0.9", "recall=0", "recall=1.1", "precision=nan"])
def test_a_goal_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="give precision=P or recall=R"):
        parse_goal(text)


@pytest.fixture(scope="module")
def own_run(run, tmp_path_factory):
    """A copy of the run that may be changed."""
    return shutil.copytree(run, tmp_path_factory.mktemp("thresholds") / "run")


def test_gap_15_thresholds_are_stored_in_the_run_and_predict_uses_them(own_run, voc, tmp_path, capsys):
    file = RunFolder(own_run).best
    before, plain = api.load(own_run, "cpu"), read_metadata(file)
    words = ["evaluate", str(own_run), str(voc), "--split", "val", "--device", "cpu", "--threshold-for", "recall=0.5"]
    numbers = tmp_path / "numbers.json"
    assert main([*words, "--json", str(numbers)]) == 0
    printed = capsys.readouterr().out
    assert "thresholds for recall=0.5 at IoU 0.5, on split val" in printed
    assert "split val chose the best epoch too" in printed
    metadata, told = read_metadata(file), json.loads(numbers.read_text())["thresholds"]
    stored = metadata.pop("thresholds")
    assert metadata == plain
    assert stored["by_class"] == {name: row["score"] for name, row in told["by_class"].items()}
    assert (stored["goal"], stored["split"]) == ("recall=0.5", "val")
    after = api.load(own_run, "cpu")
    for name, tensor in before.model.state_dict().items():
        assert torch.equal(tensor, after.model.state_dict()[name])
    picture = np.zeros((64, 80, 3), np.uint8)
    (everything,) = after.predict(picture)
    (shown,) = after.predict(picture, score=None)
    least = torch.tensor([stored["by_class"][name] or 0.5 for name in everything.names])
    assert torch.equal(shown.scores, everything.scores[everything.scores >= least])


def test_thresholds_on_the_training_split_are_warned_of(own_run, voc, capsys):
    words = ["--split", "train", "--device", "cpu", "--threshold-for", "precision=0.5"]
    assert main(["evaluate", str(own_run), str(voc), *words]) == 0
    assert "the network learned from split train" in capsys.readouterr().out


def test_without_stored_thresholds_predict_shows_from_one_half_and_a_given_score_goes_before_them(run):
    detector = api.load(run, "cpu")
    assert detector.shown.tolist() == [0.5, 0.5]
    detector.thresholds = {"disc": 0.9, "square": None}
    assert detector.shown.tolist() == pytest.approx([0.9, 0.5])
    picture = shape_sample("any").picture
    (everything,) = detector.predict(picture, score=0.0)
    own = {
        name: float(everything.scores[everything.labels == n].median()) for n, name in enumerate(("disc", "square"), 1)
    }
    detector.thresholds = own
    (shown,) = detector.predict(picture, score=None)
    least = torch.tensor([own[name] for name in everything.names])
    assert torch.equal(shown.scores, everything.scores[everything.scores >= least])
    assert 0 < len(shown) < len(everything)


@pytest.mark.parametrize("words", [["torchvision:fasterrcnn_resnet50_fpn"], ["{run}", "--weights", "last"]])
def test_what_keeps_no_thresholds_is_refused_before_it_is_looked_at(words, run, voc, capsys):
    first, *rest = [word.format(run=run) for word in words]
    assert main(["evaluate", first, str(voc), *rest, "--threshold-for", "recall=0.5"]) == 2
    assert "stored in a run's best weights" in capsys.readouterr().err


def test_what_a_threshold_rests_on_is_told_and_few_detections_are_warned_of(own_run, voc, capsys):
    threshold = chosen("precision=1")["cat"]
    assert (threshold.detections, threshold.rests_on_few) == (1, True)
    assert chosen("precision=0.6")["cat"].detections == 6
    assert not replace(threshold, detections=30).rests_on_few
    assert not replace(threshold, score=math.nan).rests_on_few
    assert main(["evaluate", str(own_run), str(voc), "--split", "val", "--threshold-for", "recall=0.1"]) == 0
    assert "threshold rests on" in capsys.readouterr().out


def test_a_goal_holds_what_it_says():
    assert str(Goal("precision", 0.95)) == "precision=0.95"
