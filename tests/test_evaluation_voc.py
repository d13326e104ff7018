"""The VOC protocol against a nested-loop oracle, and case by case."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from rcnn.evaluation import evaluate
from rcnn.sample import Sample
from rcnn.structures import Detections

NAMES = ("cat", "dog", "bird", "unseen")


def sample(boxes, names, difficult=None, crowd=None, name="p"):
    return Sample(name, np.zeros((1, 1, 3), np.uint8), np.array(boxes, np.float32), tuple(names), difficult, crowd)


def detections(boxes, scores, labels, names=NAMES):
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(labels, dtype=torch.int64),
        names,
    )


def oracle_iou(a, b):
    """On 1-based inclusive corners, as the development kit computes it."""
    a, b = [(x1 + 1, y1 + 1, x2, y2) for x1, y1, x2, y2 in (a, b)]
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return width * height / (areas[0] + areas[1] - width * height)


def oracle_outcomes(samples, found, name, label):
    """True and false positives of a class, best first, and the number of boxes that count."""
    ranked, countable, claimed = [], 0, set()
    for picture, (truth, seen) in enumerate(zip(samples, found, strict=True)):
        for other, difficult in zip(truth.names, truth.difficult | truth.crowd, strict=True):
            countable += other == name and not difficult
        for box, score, found_label in zip(
            seen.boxes.tolist(), seen.scores.tolist(), seen.labels.tolist(), strict=True
        ):
            if found_label == label:
                ranked.append((score, picture, box))
    outcomes = []
    for _, picture, box in sorted(ranked, key=lambda row: -row[0]):
        truth, best, best_iou = samples[picture], None, -math.inf
        for index, true_box in enumerate(truth.boxes.tolist()):
            overlap = oracle_iou(box, true_box)
            if truth.names[index] == name and overlap > best_iou:
                best, best_iou = index, overlap
        if best_iou < 0.5:
            outcomes.append(False)
        elif truth.difficult[best] or truth.crowd[best]:
            continue
        else:
            outcomes.append((picture, best) not in claimed)
            claimed.add((picture, best))
    return outcomes, countable


def oracle_average(outcomes, countable, protocol):
    if not countable:
        return math.nan
    curve, hits = [], 0
    for rank, hit in enumerate(outcomes, start=1):
        hits += hit
        curve.append((Fraction(hits, countable), Fraction(hits, rank)))
    if protocol == "voc07":
        points = [max((p for r, p in curve if r >= Fraction(k, 10)), default=Fraction(0)) for k in range(11)]
        return float(sum(points) / 11)
    total, before = Fraction(0), Fraction(0)
    for index, (recall, _) in enumerate(curve):
        total += (recall - before) * max(p for _, p in curve[index:])
        before = recall
    return float(total)


def random_case(seed):
    """Whole-pixel boxes on a small canvas: many ties in score, IoU of exactly 0.5, duplicates and empty pictures."""
    rng = np.random.default_rng(seed)
    samples, found = [], []
    for picture in range(rng.integers(1, 7)):
        count = int(rng.integers(0, 7))
        boxes = random_boxes(rng, count)
        flags = rng.random((2, count)) < 0.2
        samples.append(sample(boxes.reshape(-1, 4), rng.choice(NAMES[:3], count), *flags, name=str(picture)))
        near = boxes[rng.integers(0, count, 8)] + rng.integers(-2, 3, (8, 4)) if count else np.zeros((0, 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        guesses = np.concatenate([near, random_boxes(rng, int(rng.integers(0, 6)))])
        scores = rng.integers(0, 6, len(guesses)) / 8
        found.append(detections(guesses.tolist(), scores.tolist(), rng.integers(1, 5, len(guesses)).tolist()))
    return samples, found


def random_boxes(rng, count):
    corner, size = rng.integers(0, 12, (count, 2)), rng.integers(1, 9, (count, 2))
    return np.concatenate([corner, corner + size], axis=1)


@pytest.mark.parametrize("protocol", ["voc07", "voc"])
def test_every_class_agrees_with_a_nested_loop_oracle(protocol):
    for seed in range(300):
        samples, found = random_case(seed)
        result = evaluate(samples, found, NAMES, protocol)
        expected = [
            oracle_average(*oracle_outcomes(samples, found, name, label), protocol)
            for label, name in enumerate(NAMES, start=1)
        ]
        actual = [result.per_class[name]["AP"] for name in NAMES]
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12, err_msg=f"seed {seed}")
        known = [value for value in expected if not math.isnan(value)]
        np.testing.assert_allclose(result.metrics["mAP"], np.mean(known) if known else math.nan, atol=1e-12)


def ap(truth, found, protocol="voc"):
    return evaluate([truth], [found], NAMES, protocol).per_class["cat"]["AP"]


def test_an_overlap_of_exactly_one_half_is_a_hit():
    assert ap(sample([[0, 0, 10, 10]], ["cat"]), detections([[0, 0, 10, 5]], [0.9], [1])) == 1


def test_a_detection_on_a_claimed_box_is_false_even_if_another_box_would_pass():
    truth = sample([[0, 0, 10, 10], [0, 2, 10, 12]], ["cat", "cat"])
    found = detections([[0, 0, 10, 10], [0, 0.5, 10, 10.5]], [0.9, 0.8], [1, 1])
    assert ap(truth, found) == 0.5


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_detections_on_a_difficult_or_crowd_box_count_for_neither_side(flag):
    truth = sample([[0, 0, 10, 10], [20, 0, 30, 10]], ["cat", "cat"], **{flag: np.array([True, False])})
    found = detections([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]], [0.9, 0.8, 0.7], [1, 1, 1])
    assert ap(truth, found) == 1


def test_another_class_is_never_matched():
    assert ap(sample([[0, 0, 10, 10]], ["cat"]), detections([[0, 0, 10, 10]], [0.9], [2])) == 0


def test_recall_of_three_in_ten_reaches_the_point_at_0_3():
    boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(10)]
    found = detections(boxes[:3], [0.9, 0.8, 0.7], [1, 1, 1])
    assert ap(sample(boxes, ["cat"] * 10), found, "voc07") == pytest.approx(4 / 11, abs=1e-12)


def test_a_class_without_countable_truth_is_nan_and_left_out_of_the_mean():
    truth = sample([[0, 0, 10, 10], [20, 0, 30, 10]], ["cat", "dog"], np.array([False, True]))
    result = evaluate([truth], [detections([[0, 0, 10, 10], [50, 0, 60, 9]], [0.9, 0.9], [1, 3])], NAMES, "voc")
    assert result.metrics["mAP"] == 1
    assert all(math.isnan(result.per_class[name]["AP"]) for name in NAMES[1:])


def test_there_is_no_limit_on_detections():
    truth = sample([[0, 0, 10, 10]], ["cat"])
    found = detections([[50, 50, 60, 60]] * 150 + [[0, 0, 10, 10]], [0.9] * 150 + [0.1], [1] * 151)
    assert ap(truth, found) == pytest.approx(1 / 151)
