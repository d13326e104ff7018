"""Matching, curves, confusion and counts, against nested loops and against `evaluate`."""

import itertools
import json
import math

import numpy as np
import pytest
from oracles import loop_iou
from scenes import NAMES, detections, random_scenes, sample

from rcnn.analysis import analyse, class_curves, confusion_matrix, count, match
from rcnn.errors import DataError
from rcnn.evaluation import evaluate

SEEDS = range(12)
A, B = (0, 0, 40, 40), (100, 100, 140, 140)


def best_first(found):
    scores = found.scores.tolist()
    return sorted(range(len(scores)), key=lambda i: -scores[i])


def loop_match(samples, found, by_class=True, least=0.0, iou=0.5):
    """For each picture, detection -> object, and the dropped detections: COCO's rules in plain loops."""
    results = []
    for one, seen in zip(samples, found, strict=True):
        ignored = (one.difficult | one.crowd).tolist()
        taken, dropped, free = {}, set(), set(range(len(one.names)))
        for d in best_first(seen):
            if seen.scores[d] < least:
                continue
            options = []
            for g, name in enumerate(one.names):
                same = name == seen.names[d]
                if (by_class and not same) or (g not in free and not one.crowd[g]):
                    continue
                a, b = seen.boxes[d].tolist(), one.boxes[g].tolist()
                overlap = share_inside(a, b) if one.crowd[g] else loop_iou(a, b)
                if overlap >= iou:
                    options.append((not ignored[g], overlap, same, g))
            if options:
                *_, g = max(options)
                free.discard(g)
                if ignored[g]:
                    dropped.add(d)
                else:
                    taken[d] = g
        results.append((taken, dropped))
    return results


def share_inside(a, b):
    w, h = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]))


@pytest.mark.parametrize("seed", SEEDS)
def test_matching_is_that_of_nested_loops(seed):
    samples, found = random_scenes(seed)
    matching = match(samples, found, NAMES)
    for picture, (taken, dropped) in enumerate(loop_match(samples, found)):
        rows = np.flatnonzero(matching.found.picture == picture)
        seen = matching.found
        assert seen.place[rows].tolist() == best_first(found[picture])
        assert {int(seen.place[r]): int(matching.truth.place[seen.truth[r]]) for r in rows if seen.right[r]} == taken
        assert {int(seen.place[r]) for r in rows if not seen.counts[r]} == dropped
        objects = np.flatnonzero(matching.truth.picture == picture)
        assert {int(matching.truth.place[g]) for g in objects if matching.truth.found[g]} == set(taken.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_overlaps_with_the_own_and_with_other_classes_are_those_of_nested_loops(seed):
    samples, found = random_scenes(seed)
    matching = match(samples, found, NAMES)
    seen = matching.found
    for row in range(len(seen.labels)):
        one, name = samples[seen.picture[row]], NAMES[seen.labels[row] - 1]
        box, ignored = seen.boxes[row].tolist(), one.difficult | one.crowd
        overlaps = [loop_iou(box, other) for other in one.boxes.tolist()]
        for same, column in ((True, seen.same_iou), (False, seen.other_iou)):
            expected = [
                o for o, n, i in zip(overlaps, one.names, ignored, strict=True) if (n == name) == same and not i
            ]
            assert column[row] == pytest.approx(max(expected, default=0))
        parts = [
            share_inside(box, o) if c else loop_iou(box, o) for o, c in zip(one.boxes.tolist(), one.crowd, strict=True)
        ]
        assert seen.ignored_iou[row] == pytest.approx(max(itertools.compress(parts, ignored), default=0))


@pytest.mark.parametrize("seed", SEEDS)
def test_ap_of_a_curve_is_the_ap50_of_evaluate(seed):
    samples, found = random_scenes(seed, pictures=14)
    expected = evaluate(samples, found, NAMES, "coco").per_class
    for curve in class_curves(match(samples, found, NAMES)):
        assert curve.ap50 == pytest.approx(expected[curve.name]["AP50"], abs=1e-12, nan_ok=True)


def test_only_the_best_hundred_of_a_class_in_a_picture_count_as_under_coco():
    rows = [(B, 0.9 - i / 1000, "cat") for i in range(100)] + [(A, 0.1, "cat"), (A, 0.1, "dog")]
    samples, found = [sample([A, A], ["cat", "dog"])], [detections(rows)]
    expected = evaluate(samples, found, NAMES, "coco").per_class
    cat, dog, bird = class_curves(match(samples, found, NAMES))
    assert (cat.ap50, dog.ap50) == (0, 1)
    assert [expected[name]["AP50"] for name in ("cat", "dog")] == pytest.approx([0, 1])
    assert math.isnan(bird.ap50)


@pytest.mark.parametrize("score", [0.0, 0.3, 0.55, 1.0])
def test_precision_recall_and_f1_at_a_threshold_are_those_of_the_detections_above_it(score):
    samples, found = random_scenes(5)
    pairs = loop_match(samples, found, least=score)
    for curve in class_curves(match(samples, found, NAMES)):
        right = sum(
            one.names[g] == curve.name for one, (taken, _) in zip(samples, pairs, strict=True) for g in taken.values()
        )
        false = sum(
            seen.names[d] == curve.name and seen.scores[d] >= np.float32(score) and d not in taken and d not in dropped
            for seen, (taken, dropped) in zip(found, pairs, strict=True)
            for d in range(len(seen))
        )
        objects = sum(
            n == curve.name and not (d or c)
            for s in samples
            for n, d, c in zip(s.names, s.difficult, s.crowd, strict=True)
        )
        precision, recall, f1 = curve.at(score)
        assert recall == pytest.approx(right / objects)
        assert f1 == pytest.approx(2 * right / (right + false + objects))
        if right + false:
            assert precision == pytest.approx(right / (right + false))
        else:
            assert math.isnan(precision)


def test_the_best_threshold_is_that_of_the_highest_f1_among_scores_that_can_be_told_apart():
    rows = [(A, 0.9, "cat"), (B, 0.5, "cat"), ((300, 0, 340, 40), 0.5, "cat"), ((300, 0, 340, 40), 0.4, "cat")]
    curve = class_curves(match([sample([A, B], ["cat", "cat"])], [detections(rows)], NAMES))[0]
    assert curve.best_score == pytest.approx(0.5)
    assert curve.at(0.9) == pytest.approx((1, 0.5, 2 / 3))
    assert curve.at(curve.best_score) == pytest.approx((2 / 3, 1, 0.8))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_confusion_matrix_is_that_of_nested_loops_whatever_the_class(seed):
    samples, found = random_scenes(seed)
    expected = np.zeros((4, 4), int)
    for one, seen, (taken, dropped) in zip(samples, found, loop_match(samples, found, False, 0.3), strict=True):
        for d in range(len(seen)):
            if seen.scores[d] >= 0.3 and d not in dropped:
                row = NAMES.index(one.names[taken[d]]) if d in taken else 3
                expected[row, NAMES.index(seen.names[d])] += 1
        for g, name in enumerate(one.names):
            if g not in taken.values() and not (one.difficult | one.crowd)[g]:
                expected[NAMES.index(name), 3] += 1
    confusion = confusion_matrix(match(samples, found, NAMES), 0.3)
    assert confusion.table.tolist() == expected.tolist()
    assert confusion.names == (*NAMES, "background")


def test_the_most_confused_classes_come_first():
    samples = [sample([A, B], ["cat", "dog"], f"p{i}") for i in range(3)]
    found = [detections([(A, 0.9, "dog"), (B, 0.9, "bird" if i else "dog")]) for i in range(3)]
    assert confusion_matrix(match(samples, found, NAMES)).most_confused() == [("cat", "dog", 3), ("dog", "bird", 2)]


def test_counts_tell_what_is_found_by_class_and_size():
    small, large = (0, 0, 10, 10), (0, 0, 200, 200)
    samples = [
        sample([small, large], ["cat", "cat"], "a"),
        sample([], [], "b"),
        sample([large, A], ["dog", "dog"], "c", difficult=np.array([False, True])),
    ]
    found = [detections([(large, 0.9, "cat"), (small, 0.2, "cat")]), detections([(A, 0.8, "cat")]), detections([])]
    counts = count(match(samples, found, NAMES))
    assert (counts.pictures, counts.empty, counts.objects, counts.ignored) == (3, 1, 3, 1)
    assert (counts.detections, counts.shown) == (3, 2)
    assert counts.of("cat", "small").recall == 1
    assert counts.of("cat", "small").recall_at_score == 0
    assert (counts.of().objects, counts.of().found, counts.of().found_at_score) == (3, 2, 1)
    assert counts.of("dog", "large").recall == 0
    assert math.isnan(counts.of("bird").recall)


@pytest.mark.parametrize("samples", [[], [sample([], [])], [sample([A], ["cat"])]])
def test_nothing_found_and_nothing_to_find_are_analysed_and_written_as_json(samples):
    result = analyse(samples, [detections([])] * len(samples), NAMES)
    text = json.dumps(result.to_json(), allow_nan=False)
    assert json.loads(text)["counts"]["pictures"] == len(samples)
    assert result.suspects == ()
    assert result.confusion.table.sum() == sum(len(one.names) for one in samples)


def test_an_analysis_is_written_as_json_without_nan():
    text = json.dumps(analyse(*random_scenes(3), NAMES).to_json(), allow_nan=False)
    assert {"counts", "curves", "confusion", "errors", "suspected_label_errors"} == set(json.loads(text))


def test_detections_that_do_not_belong_to_the_samples_are_refused():
    with pytest.raises(DataError, match="2 samples but 1 detections"):
        match([sample([], []), sample([], [])], [detections([])], NAMES)
