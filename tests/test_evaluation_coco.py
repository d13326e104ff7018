"""The COCO protocol against pycocotools, and case by case."""

import contextlib
import io
import logging
import math

import numpy as np
import pytest
import torch

from rcnn.evaluation import evaluate
from rcnn.sample import Sample
from rcnn.structures import Detections

NAMES = ("cat", "dog", "bird", "unseen")
METRICS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
METRICS += ("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large")


def sample(boxes, names, name="p", **flags):
    return Sample(name, np.zeros((1, 1, 3), np.uint8), np.array(boxes, np.float32), tuple(names), **flags)


def detections(boxes, scores, labels, names=NAMES):
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(labels, dtype=torch.int64),
        names,
    )


def xywh(boxes):
    boxes = np.asarray(boxes, float)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()


def pycocotools_stats(samples, found, cap=100):
    """The twelve numbers and the precision array; a difficult object is put outside every area range."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, results = [], []
    for image, (one, seen) in enumerate(zip(samples, found, strict=True), start=1):
        columns = (xywh(one.boxes), one.names, one.difficult, one.crowd, one.area)
        for box, name, difficult, crowd, area in zip(*columns, strict=True):
            row = {"image_id": image, "category_id": NAMES.index(name) + 1, "bbox": box}
            truth.append(
                row
                | {"id": len(truth) + 1, "iscrowd": int(crowd), "area": -1 if difficult and not crowd else float(area)}
            )
        for box, score, label in zip(xywh(seen.boxes), seen.scores.tolist(), seen.labels.tolist(), strict=True):
            results.append({"image_id": image, "category_id": label, "bbox": box, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": i + 1} for i in range(len(samples))],
            "categories": [{"id": k + 1, "name": name} for k, name in enumerate(NAMES)],
            "annotations": truth,
        }
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluator.params.maxDets = [1, 10, cap]
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats, evaluator.eval["precision"]


def random_case(seed, busy=40):
    """Crowds, difficult objects, areas unlike the boxes', ties, empty pictures, over 100 detections of a class."""
    rng = np.random.default_rng(seed)
    samples, found = [], []
    for picture in range(6):
        count = int(rng.integers(0, 8)) if picture else 0
        corner, size = rng.integers(0, 100, (count, 2)), rng.integers(5, 160, (count, 2))
        boxes = np.concatenate([corner, corner + size], axis=1).reshape(-1, 4)
        area = size.prod(axis=1) * rng.uniform(0.5, 1, count)
        names = rng.choice(NAMES[:3], count)
        flags = rng.random((2, count)) < 0.2
        samples.append(sample(boxes, names, str(picture), difficult=flags[0], crowd=flags[1], area=area))
        near = boxes[rng.integers(0, count, busy)] + rng.normal(0, 4, (busy, 4)) if count else np.zeros((0, 4))
        far = rng.uniform(0, 100, (busy, 2))
        guesses = np.concatenate([near, np.concatenate([far, far + rng.uniform(1, 100, (busy, 2))], axis=1)])
        guesses[:, 2:] = np.maximum(guesses[:, 2:], guesses[:, :2] + 1)
        scores = np.round(rng.random(len(guesses)), 1 if seed % 2 else 6)
        labels = rng.choice([1, 2, 3, 4], len(guesses), p=[0.85, 0.05, 0.05, 0.05] if busy > 100 else None)
        found.append(detections(guesses, scores, labels) if picture != 1 else detections([], [], []))
    return samples, found


def nan_for_minus_one(value):
    return math.nan if value == -1 else float(value)


@pytest.mark.parametrize(("seeds", "busy"), [(range(60), 40), (range(60, 75), 200)], ids=["plain", "crowded"])
def test_all_numbers_equal_those_of_pycocotools(seeds, busy):
    for seed in seeds:
        samples, found = random_case(seed, busy)
        stats, precision = pycocotools_stats(samples, found)
        result = evaluate(samples, found, NAMES, "coco")
        assert tuple(result.metrics) == METRICS
        expected = [nan_for_minus_one(v) for v in stats]
        np.testing.assert_allclose(list(result.metrics.values()), expected, rtol=0, atol=1e-12)
        for k, name in enumerate(NAMES):
            expected = [nan_for_minus_one(precision[t, :, k, 0, -1].mean()) for t in (slice(None), 0)]
            np.testing.assert_allclose(list(result.per_class[name].values()), expected, rtol=0, atol=1e-12)


def test_a_cap_other_than_100_gives_the_numbers_of_pycocotools_and_names_the_recall():
    samples, found = random_case(1)
    stats, _ = pycocotools_stats(samples, found, cap=20)
    metrics = evaluate(samples, found, NAMES, "coco", max_detections=20).metrics
    # pycocotools hard-wires 100 into its first number alone.
    expected = [nan_for_minus_one(v) for v in stats[1:]]
    np.testing.assert_allclose(list(metrics.values())[1:], expected, rtol=0, atol=1e-12)
    assert "AR20" in metrics
    assert "AR100" not in metrics


def test_the_limit_on_detections_warns_with_the_number_of_pictures():
    truth = sample([[0, 0, 10, 10]], ["cat"])
    many = detections([[50, 50, 60, 60]] * 3 + [[0, 0, 10, 10]], [0.9] * 3 + [0.1], [1] * 4)
    spread = detections([[0, 0, 10, 10]] * 4, [0.9] * 4, [1, 2, 3, 4])
    result = evaluate([truth] * 3, [many, many, spread], NAMES, "coco", max_detections=3)
    (warning,) = result.warnings
    assert warning == "pictures with more than 3 detections of one class: 2; only the best 3 were counted"
    assert evaluate([truth] * 3, [many, many, spread], NAMES, "coco", max_detections=4).warnings == ()


def test_perfect_detections_score_one_and_absent_classes_are_left_out_of_the_mean():
    truth = sample([[0, 0, 10, 10], [20, 20, 70, 90]], ["cat", "dog"])
    found = detections([[0, 0, 10, 10], [20, 20, 70, 90], [0, 0, 5, 5]], [0.9, 0.8, 0.7], [1, 2, 3])
    result = evaluate([truth], [found], NAMES, "coco")
    assert all(result.metrics[name] == pytest.approx(1) for name in ("AP", "AP50", "AP75", "AP_small", "AP_medium"))
    assert math.isnan(result.metrics["AP_large"])
    assert math.isnan(result.per_class["bird"]["AP"])
    assert -1 not in [*result.metrics.values(), *result.per_class["bird"].values()]


def ap50(truth, found):
    return evaluate([truth], [found], NAMES, "coco").per_class["cat"]["AP50"]


BOXES = [[0, 0, 40, 40], [100, 0, 140, 40]]
PART, WHOLE, OTHER = [0, 0, 10, 10], *BOXES


def test_detections_in_a_crowd_box_are_dropped_by_the_share_of_them_inside():
    truth = sample(BOXES, ["cat", "cat"], crowd=np.array([True, False]))
    found = detections([WHOLE, PART, PART, OTHER], [0.9, 0.8, 0.7, 0.1], [1] * 4)
    assert ap50(truth, found) == pytest.approx(1)


@pytest.mark.parametrize(
    ("extra", "expected"), [([WHOLE], 1), ([PART], 1 / 2), ([WHOLE, WHOLE], 1 / 2), ([WHOLE, PART], 1 / 2)]
)
def test_one_detection_on_a_difficult_box_is_dropped_by_ordinary_iou(extra, expected):
    truth = sample(BOXES, ["cat", "cat"], difficult=np.array([True, False]))
    found = detections([*extra, OTHER], [0.9] * len(extra) + [0.1], [1] * (len(extra) + 1))
    assert ap50(truth, found) == pytest.approx(expected)


def test_an_object_both_difficult_and_crowd_is_a_crowd():
    truth = sample(BOXES, ["cat", "cat"], crowd=np.array([True, False]), difficult=np.array([True, False]))
    assert ap50(truth, detections([PART, PART, OTHER], [0.9, 0.8, 0.1], [1] * 3)) == pytest.approx(1)


def test_size_classes_go_by_the_area_of_the_sample():
    truth = sample([[0, 0, 100, 100]], ["cat"], area=np.array([100.0]))
    metrics = evaluate([truth], [detections([[0, 0, 100, 100]], [0.9], [1])], NAMES, "coco").metrics
    assert metrics["AP_small"] == pytest.approx(1)
    assert math.isnan(metrics["AP_large"])


def test_nothing_is_printed_or_logged(capfd, caplog):
    caplog.set_level(logging.DEBUG)
    evaluate([sample(BOXES, ["cat", "dog"])], [detections([WHOLE], [0.9], [1])], NAMES, "coco")
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


@pytest.mark.parametrize("pictures", [0, 2])
def test_no_objects_and_no_detections_give_nan_everywhere(pictures):
    empty = sample(np.zeros((0, 4)), [])
    result = evaluate([empty] * pictures, [detections([], [], [])] * pictures, NAMES, "coco")
    assert all(math.isnan(value) for value in result.metrics.values())
