"""Recall of proposals, held against plain loops."""

import json
import math

import numpy as np
import pytest
from oracles import boxes_in, loop_iou

from rcnn.errors import ConfigError, DataError
from rcnn.evaluation.recall import NUMBERS, THRESHOLDS, average_recall, best_overlaps, measure_recall, recall
from rcnn.report.recall import draw_recall
from rcnn.sample import Sample


def loop_best(truth, proposals, number):
    """The best IoU of each true box with the first `number` proposals of its picture."""
    return [
        max((loop_iou(box, proposal) for proposal in found[:number].tolist()), default=0.0)
        for boxes, found in zip(truth, proposals, strict=True)
        for box in boxes.tolist()
    ]


def scenes(counts):
    """Truth and proposals of some pictures, with so many of each."""
    truth = [boxes_in(g, seed=10 + place).numpy() for place, (g, _) in enumerate(counts)]
    return truth, [boxes_in(p, seed=20 + place).numpy() for place, (_, p) in enumerate(counts)]


COUNTS = [[(3, 40)], [(2, 5), (0, 7), (4, 0), (1, 60)], [(5, 1), (1, 200)]]


@pytest.mark.parametrize("counts", COUNTS)
def test_recall_is_that_of_the_loops(counts):
    truth, proposals = scenes(counts)
    thresholds, numbers = (0.1, 0.3, 0.5, 0.7), (1, 3, 10, 1000)
    found = recall(truth, proposals, thresholds, numbers)
    for row, number in zip(found, numbers, strict=True):
        best = loop_best(truth, proposals, number)
        expected = [sum(iou >= threshold for iou in best) / len(best) for threshold in thresholds]
        np.testing.assert_allclose(row, expected)


def test_average_recall_is_the_area_under_recall():
    truth, proposals = scenes([(6, 300), (4, 200)])
    best = best_overlaps(truth, proposals, (10, 500))
    steps = np.linspace(0.5, 1, 20001)
    area = 2 * np.trapezoid(recall(truth, proposals, steps, (10, 500)), steps, axis=1)
    np.testing.assert_allclose(average_recall(best), area, atol=1e-4)


def test_an_iou_of_exactly_the_threshold_covers():
    truth, proposals = [np.array([[0.0, 0, 10, 10]])], [np.array([[0.0, 0, 10, 5]])]
    np.testing.assert_array_equal(recall(truth, proposals, (0.5, 0.500001), (1,)), [[1, 0]])


def test_difficult_and_crowd_boxes_are_left_out():
    boxes = np.array([[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]], np.float32)
    flags = {"difficult": np.array([False, True, False]), "crowd": np.array([False, False, True])}
    measured = measure_recall([Sample("a", "a.png", boxes, ("x",) * 3, **flags)], [boxes[:1]])
    assert measured.objects == 1
    assert measured.at(1, 0.5) == measured.at(2000, 1.0) == measured.average_at(100) == 1


def test_without_truth_recall_is_unknown_and_null_in_json():
    measured = measure_recall([Sample("a", "a.png")], [boxes_in(3).numpy()])
    assert math.isnan(measured.at(100, 0.5))
    assert measured.to_json()["by_number"][0] == {
        "proposals": 1,
        "recall": [None] * len(THRESHOLDS),
        "average_recall": None,
    }


def test_the_json_holds_every_number():
    truth, proposals = scenes([(3, 40)])
    samples = [Sample("a", "a.png", truth[0], ("x",) * 3)]
    content = json.loads(json.dumps(measure_recall(samples, proposals).to_json()))
    assert [row["proposals"] for row in content["by_number"]] == list(NUMBERS)
    assert content["objects"] == 3
    assert content["mean_proposals"] == 40


def test_lists_that_do_not_belong_together_are_refused():
    with pytest.raises(DataError, match="2 samples but proposals of 1"):
        measure_recall([Sample("a", "a.png"), Sample("b", "b.png")], [boxes_in(1).numpy()])


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_plot_is_drawn_for_one_file_and_for_several(suffix, tmp_path):
    truth, proposals = scenes([(3, 40)])
    measured = measure_recall([Sample("a", "a.png", truth[0], ("x",) * 3)], proposals)
    for names in (["one"], ["one", "two"]):
        draw_recall(dict.fromkeys(names, measured), tmp_path / f"plot{suffix}")
        assert (tmp_path / f"plot{suffix}").stat().st_size > 1000


def test_a_plot_of_unknown_kind_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"ends in \.png"):
        draw_recall({}, tmp_path / "plot.xyz")
