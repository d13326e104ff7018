"""Where AP is lost: each cause planted and found, and parts that agree with the whole."""

import math

import numpy as np
import pytest
from scenes import NAMES, detections, random_scenes, sample

from rcnn.analysis import KINDS, decompose, match
from rcnn.evaluation import evaluate

CAT, DOG = (0, 0, 40, 40), (200, 0, 240, 40)
NEAR_CAT = (25, 0, 65, 40)  # IoU 0.23
FAR = (0, 300, 40, 340)
HIT = [(CAT, 0.5, "cat"), (DOG, 0.5, "dog")]


def decomposed(*pictures):
    """Pictures with a cat and a dog each, and what was found in them."""
    samples = [sample([CAT, DOG], ["cat", "dog"], f"p{i}") for i in range(len(pictures))]
    return decompose(match(samples, [detections(rows) for rows in pictures], NAMES))


def counts(errors):
    return {one.kind: one.count for one in errors.kinds if one.count}


PLANTS = {
    "classification": [(CAT, 0.9, "dog"), HIT[1]],
    "localisation": [(NEAR_CAT, 0.9, "cat"), HIT[1]],
    "both": [(NEAR_CAT, 0.9, "dog"), *HIT],
    "duplicate": [(CAT, 0.4, "cat"), *HIT],
    "background": [(FAR, 0.9, "cat"), *HIT],
    "missed": [HIT[1]],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_error_is_told_for_what_it_is_and_its_repair_alone_gives_an_ap_of_one(kind):
    errors = decomposed(PLANTS[kind])
    assert counts(errors) == {kind: 1}
    assert errors.ap50 + errors.of(kind).dap50 == pytest.approx(1)
    assert [one.dap50 for one in errors.kinds if one.kind != kind] == [0] * 5
    (worst,) = errors.worst(kind)
    assert worst.sample_id == "p0"
    assert worst.box == (
        CAT if kind in ("classification", "duplicate", "missed") else FAR if kind == "background" else NEAR_CAT
    )
    assert worst.truth == (None if kind == "background" else 0)
    assert worst.truth_name == (None if kind == "background" else "cat")


def test_a_perfect_detector_loses_nothing():
    errors = decomposed(HIT, HIT)
    assert errors.ap50 == 1
    assert counts(errors) == {}
    assert errors.chain == (1,) * 6


def test_errors_in_a_large_mixture_are_all_found_and_counted_by_class():
    plants = [kind for number, kind in enumerate(KINDS, start=3) for _ in range(number)]
    errors = decomposed(*(PLANTS[kind] for kind in plants))
    assert counts(errors) == {kind: plants.count(kind) for kind in KINDS}
    assert errors.of("classification").by_class == {"cat": 0, "dog": plants.count("classification"), "bird": 0}
    assert errors.of("missed").by_class == {"cat": plants.count("missed"), "dog": 0, "bird": 0}
    assert {one.kind: sum(one.by_size.values()) for one in errors.kinds} == counts(errors)


def test_an_object_that_a_repaired_detection_would_find_is_not_missed_too():
    errors = decomposed([(CAT, 0.9, "dog"), (NEAR_CAT, 0.6, "cat"), HIT[1]])
    assert counts(errors) == {"classification": 1, "localisation": 1}


def test_of_two_detections_repaired_to_one_object_the_better_stays():
    """Repaired, the second would be a duplicate; both kinds at once leave one detection, at the better score."""
    rows = [(CAT, 0.3, "dog"), (CAT, 0.9, "bird"), (NEAR_CAT, 0.6, "cat"), HIT[1]]
    errors = decomposed(rows, [])
    assert counts(errors) == {"classification": 2, "localisation": 1, "missed": 2}
    cat_recall = 51 / 101  # one of two cats, and one of two dogs, at full precision
    assert errors.chain[1] == pytest.approx(cat_recall)
    assert errors.chain[-1] == 1


def test_a_wrong_class_on_an_object_that_is_found_is_removed_by_its_repair():
    errors = decomposed([(CAT, 0.9, "dog"), *HIT])
    assert counts(errors) == {"classification": 1}
    assert errors.of("classification").dap50 == pytest.approx(0.25)  # dogs: half before, all after


def test_detections_on_difficult_objects_and_crowds_are_no_errors():
    flags = {"difficult": np.array([True, False]), "crowd": np.array([False, True])}
    one = sample([CAT, (200, 0, 400, 200)], ["cat", "dog"], **flags)
    rows = [(CAT, 0.9, "cat"), (DOG, 0.9, "dog"), ((220, 0, 260, 40), 0.8, "dog")]
    errors = decompose(match([one], [detections(rows)], NAMES))
    assert counts(errors) == {}
    assert math.isnan(errors.ap50)


def test_ious_on_the_borders_of_the_definitions():
    tenth = (0, 0, 40, 4)  # IoU 0.1 with the cat
    half = (0, 0, 40, 20)
    assert counts(decomposed([(tenth, 0.9, "cat"), *HIT])) == {"localisation": 1}
    assert counts(decomposed([(tenth, 0.9, "dog"), *HIT])) == {"background": 1}
    assert counts(decomposed([(half, 0.9, "bird"), *HIT])) == {"classification": 1}
    assert counts(decomposed([(half, 0.4, "cat"), *HIT])) == {"duplicate": 1}


def test_localisation_goes_before_classification_as_in_tide():
    overlapping = sample([CAT, (30, 0, 70, 40)], ["cat", "dog"])
    errors = decompose(match([overlapping], [detections([(CAT, 0.9, "dog")])], NAMES))
    assert counts(errors) == {"localisation": 1, "missed": 1}


def test_the_worst_errors_come_first():
    errors = decomposed([(FAR, 0.2, "cat"), (FAR, 0.8, "dog"), *HIT], [(FAR, 0.6, "cat"), *HIT], [])
    assert [round(one.score, 1) for one in errors.worst("background", 2)] == [0.8, 0.6]
    assert [one.sample_id for one in errors.worst("background")] == ["p0", "p1", "p0"]
    assert [one.picture for one in errors.worst("missed")] == [2, 2]


@pytest.mark.parametrize("seed", range(25))
def test_every_error_has_one_kind_and_the_repairs_agree_with_ap(seed):
    samples, found = random_scenes(seed, pictures=12)
    matching = match(samples, found, NAMES)
    errors = decompose(matching)
    assert errors.ap50 == pytest.approx(evaluate(samples, found, NAMES, "coco").metrics["AP50"], abs=1e-12)
    assert sum(one.count for one in errors.kinds[:5]) == matching.found.wrong.sum()
    assert ((errors.causes.kind >= 0) == matching.found.wrong).all()
    assert not (errors.causes.missed & ~matching.truth.missed).any()
    assert all(one.dap50 >= 0 for one in errors.kinds)
    assert errors.false_positives >= 0
    assert errors.false_negatives >= 0
    assert errors.chain[0] == pytest.approx(errors.ap50 + errors.kinds[0].dap50)
    assert sorted(errors.chain) == list(errors.chain)
    assert errors.chain[-1] == 1


def test_a_class_of_which_all_objects_are_missed_gains_by_the_repair_only_if_nothing_false_is_left():
    missed = decompose(match([sample([CAT], ["cat"])], [detections([])], NAMES))
    assert (missed.ap50, missed.of("missed").dap50) == (0, 1)
    false = decompose(match([sample([CAT], ["cat"])], [detections([(FAR, 0.9, "cat")])], NAMES))
    assert (false.of("missed").dap50, false.of("background").dap50, false.chain[-1]) == (0, 0, 1)
