"""Intervals of AP over pictures, and the paired test of two runs."""

from pathlib import Path

import numpy as np
import pytest
from test_evaluation_coco import NAMES, random_case

from rcnn.cli.numbers import verdict
from rcnn.errors import DataError
from rcnn.evaluation import evaluate
from rcnn.evaluation.interval import Interval, Paired, intervals, paired
from rcnn.evaluation.matches import match
from rcnn.evaluation.scenes import make_scenes

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def law(monkeypatch):
    """Made-up detections of a known law."""
    monkeypatch.syspath_prepend(FOLDER)
    return __import__("interval_coverage")


def matches_of(seed, protocol="coco"):
    samples, found = random_case(seed)
    return match(make_scenes(samples, found, NAMES), NAMES, protocol), evaluate(samples, found, NAMES, protocol)


@pytest.mark.parametrize(
    ("protocol", "means"), [("coco", ("AP", "AP50", "AP75")), ("voc", ("mAP",)), ("voc07", ("mAP",))]
)
def test_the_middle_of_an_interval_is_what_the_evaluator_says(protocol, means):
    matches, evaluation = matches_of(0, protocol)
    told = intervals(matches, 200)
    assert tuple(told) == (*means, *(f"class: {name}" for name in NAMES))
    for name in means:
        assert told[name].value == pytest.approx(evaluation.metrics[name], abs=1e-12)
    for name in NAMES:
        assert told[f"class: {name}"].value == pytest.approx(evaluation.per_class[name]["AP"], abs=1e-12, nan_ok=True)


def test_an_interval_is_the_same_each_time_and_lies_between_0_and_1():
    matches, _ = matches_of(1)
    told = intervals(matches, 200)
    assert told["AP"] == intervals(matches, 200)["AP"]
    assert all(0 <= i.low <= i.high <= 1 for name, i in told.items() if name in ("AP", "AP50", "AP75"))


def test_a_class_of_no_or_one_picture_has_no_interval(law):
    (few,) = law.simulate(12, np.random.default_rng(0))
    counts = np.zeros(12, np.int64)
    counts[3] = few.classes[2].countable.sum() or 1
    one = type(few.classes[2])(*(getattr(few.classes[2], n) for n in ("pictures", "scores", "hits", "counts")), counts)
    told = intervals(type(few)(few.protocol, few.class_names, few.ious, (*few.classes[:2], one), 12), 100)
    assert np.isnan(told["class: few"].low)
    assert told["class: few"].to_json()["low"] is None
    assert told["class: many"].low < told["class: many"].value


def test_more_pictures_make_a_narrower_interval(law):
    rng = np.random.default_rng(0)
    widths = [i.high - i.low for n in (30, 270) for i in [intervals(law.simulate(n, rng)[0], 200)["AP"]]]
    assert widths[1] < widths[0] / 2


def test_gap_9_the_interval_of_ap_holds_the_ap_of_endless_pictures_about_95_times_in_100(law, monkeypatch):
    """The script measures it over many repeats; here 120 can only rule out what is far from 95 %."""
    monkeypatch.setattr(law, "ENDLESS", 10_000)
    covered, told_apart = law.measure(40, 120, 80)
    assert min(covered["t"]) >= 88
    assert covered["t"][0] > covered["percentile"][0] + 2  # percentiles, which most programs give, are near 86 %
    assert told_apart <= 11


def test_gap_9_two_equal_runs_are_not_told_apart_and_a_better_one_is(law):
    first, second = law.simulate(60, np.random.default_rng(1), 2)
    same = paired(first, first, 200)["AP"]
    assert (same.difference.value, same.p) == (0.0, 1.0)
    assert same.better == 0.5
    worse = [
        type(c)(c.pictures, c.scores, c.hits & (c.pictures % 3 > 0)[:, None], c.counts, c.countable)
        for c in second.classes
    ]
    pair = paired(first, type(second)(second.protocol, second.class_names, second.ious, tuple(worse), 60), 200)["AP"]
    assert pair.difference.value == pytest.approx(pair.second - pair.first)
    assert pair.difference.high < 0
    assert pair.p < 0.01
    assert pair.better < 0.01


@pytest.mark.parametrize(
    ("value", "p", "words"),
    [
        (0.02, 0.012, "b is better (p = 0.012)"),
        (-0.02, 1e-5, "b is worse (p = 1e-05)"),
        (0.02, 0.4, "no difference can be told on these pictures (p = 0.400)"),
        (float("nan"), float("nan"), "no difference can be told on these pictures (p = -)"),
    ],
)
def test_gap_9_the_answer_names_the_better_run(value, p, words):
    pair = Paired(0.5, 0.5 + value, Interval(value, value - 0.01, value + 0.01), p, 0.9)
    assert verdict(pair, "b") == words


def test_a_pair_is_told_more_surely_than_two_intervals_can(law):
    first, second = law.simulate(80, np.random.default_rng(2), 2)
    difference = paired(first, second, 200)["AP"].difference
    alone = intervals(first, 200)["AP"]
    assert difference.high - difference.low < 1.4 * (alone.high - alone.low)


def test_runs_on_other_pictures_are_not_compared(law):
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="not measured on the same pictures"):
        paired(law.simulate(10, rng)[0], law.simulate(11, rng)[0])
