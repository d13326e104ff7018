"""AP over any choice of pictures, from matches made once, against the evaluator itself."""

from dataclasses import replace

import numpy as np
import pytest
from test_evaluation_coco import NAMES, detections, random_case, sample

from rcnn.evaluation import evaluate
from rcnn.evaluation.matches import match
from rcnn.evaluation.scenes import make_scenes
from rcnn.evaluation.weighted import weighted_average_precision


def averages(samples, found, protocol, weights):
    matches = match(make_scenes(samples, found, NAMES), NAMES, protocol)
    return weighted_average_precision(matches, np.array(weights, np.int64))


def per_class(samples, found, protocol):
    """AP at every IoU threshold's mean, and at 0.5, as the evaluator says them."""
    numbers = evaluate(samples, found, NAMES, protocol).per_class
    return np.array([[numbers[name]["AP"], numbers[name].get("AP50", numbers[name]["AP"])] for name in NAMES])


def of_table(table):
    return np.stack([table.mean(axis=1), table[:, 0]], axis=1)


@pytest.mark.parametrize("protocol", ["coco", "voc", "voc07"])
def test_with_every_picture_counted_once_it_is_the_evaluators_ap(protocol):
    for seed, busy in [*((seed, 40) for seed in range(8)), (60, 200)]:
        samples, found = random_case(seed, busy)
        (table,) = averages(samples, found, protocol, [[1] * len(samples)])
        np.testing.assert_allclose(of_table(table), per_class(samples, found, protocol), rtol=0, atol=1e-12)


@pytest.mark.parametrize("protocol", ["coco", "voc", "voc07"])
def test_a_weight_counts_like_so_many_copies_of_the_picture(protocol):
    for seed in (0, 2, 4):  # scores without ties: with them the order of copies would matter
        samples, found = random_case(seed)
        weights = np.random.default_rng(seed).integers(0, 4, (3, len(samples)))
        tables = averages(samples, found, protocol, weights)
        for row, table in zip(weights, tables, strict=True):
            places = np.repeat(np.arange(len(samples)), row)
            copies = [replace(samples[place], id=str(n)) for n, place in enumerate(places)]
            expected = per_class(copies, [found[place] for place in places], protocol)
            np.testing.assert_allclose(of_table(table), expected, rtol=0, atol=1e-12)


def test_every_hundredth_of_recall_is_reached_as_the_evaluator_reaches_it():
    boxes = [[20 * n, 0, 20 * n + 10, 10] for n in range(100)]
    samples = [sample(boxes, ["cat"] * 100)]
    false = [[0, 50 + n, 10, 60 + n] for n in range(100)]
    guesses = [box for pair in zip(boxes, false, strict=True) for box in pair][:100]
    found = [detections(guesses, np.linspace(1, 0.1, 100), [1] * 100)]
    (table,) = averages(samples, found, "coco", [[1]])
    np.testing.assert_allclose(of_table(table), per_class(samples, found, "coco"), rtol=0, atol=1e-12)


def test_a_class_without_objects_in_the_chosen_pictures_has_no_ap():
    samples = [sample([[0, 0, 10, 10]], ["cat"], "a"), sample([[0, 0, 10, 10]], ["dog"], "b")]
    found = [detections([[0, 0, 10, 10]], [0.9], [1]), detections([], [], [])]
    first, second = averages(samples, found, "coco", [[1, 0], [0, 5]])
    assert first[0].tolist() == pytest.approx([1] * 10)
    assert np.isnan(first[1]).all()
    assert second[1].tolist() == [0] * 10
    assert np.isnan(second[0]).all()
