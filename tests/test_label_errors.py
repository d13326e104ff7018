"""Suspected label errors: planted among sound labels and found at the top of the list."""

from collections import Counter

import numpy as np
import pytest
from scenes import NAMES, detections, sample

from rcnn.analysis import SUSPICIONS, match, suspected_label_errors

CAT, DOG = (0, 0, 40, 40), (200, 0, 240, 40)
LOOSE_CAT = (0, 0, 40, 60)  # IoU 2/3
HITS = [(CAT, 0.9, "cat"), (DOG, 0.8, "dog")]


def suspects(*pictures):
    """Of pictures, each the labelled boxes, their names and what was found."""
    samples = [sample(boxes, names, f"p{i}", **flags) for i, (boxes, names, _, flags) in enumerate(pictures)]
    return suspected_label_errors(match(samples, [detections(found) for *_, found, _ in pictures], NAMES))


def picture(boxes=(CAT, DOG), names=("cat", "dog"), found=(), **flags):
    return boxes, names, list(found), flags


SOUND = picture(found=HITS)
PLANTS = {
    "missing": picture((DOG,), ("dog",), HITS),
    "loose": picture((LOOSE_CAT, DOG), found=HITS),
    "wrong class": picture(names=("bird", "dog"), found=HITS),
    "spurious": picture(found=HITS[1:]),
}


def test_labels_that_the_detector_agrees_with_are_no_suspects():
    assert suspects(SOUND, SOUND) == ()


@pytest.mark.parametrize("kind", SUSPICIONS)
def test_a_planted_label_error_is_the_only_suspect(kind):
    (suspect,) = suspects(SOUND, PLANTS[kind], *[SOUND] * 40)
    assert (suspect.kind, suspect.sample_id, suspect.picture) == (kind, "p1", 1)
    assert 0.4 < suspect.suspicion <= 0.9
    assert suspect.box == CAT
    assert suspect.truth == (None if kind == "missing" else 0)
    assert suspect.name == "cat"
    assert suspect.truth_name == {"missing": None, "wrong class": "bird"}.get(kind, "cat")


def test_several_detections_of_one_missing_label_are_one_suspect():
    found = [*HITS, ((1, 0, 41, 40), 0.7, "cat"), ((0, 1, 40, 41), 0.6, "bird")]
    (suspect,) = suspects(picture((DOG,), ("dog",), found))
    assert (suspect.kind, round(suspect.score, 2), suspect.name) == ("missing", 0.9, "cat")


def test_nothing_is_missing_where_a_crowd_or_a_difficult_object_is():
    crowd = picture(((0, 0, 400, 400),), ("cat",), HITS, crowd=np.array([True]))
    assert suspects(crowd) == ()
    assert suspects(picture(found=HITS, difficult=np.array([True, True]))) == ()


def test_a_box_that_another_confident_detection_fits_is_not_loose():
    (rival,) = [(LOOSE_CAT, 0.6, "cat")]
    assert suspects(picture((LOOSE_CAT, DOG), found=[*HITS, rival])) == ()


def test_a_label_whose_own_class_is_detected_as_well_is_less_suspect():
    alone, beside = (
        suspects(picture(names=("bird", "dog"), found=[*HITS, *more]))[0] for more in ([], [(CAT, 0.6, "bird")])
    )
    assert alone.suspicion == pytest.approx(0.9)
    assert beside.suspicion == pytest.approx(0.9 * 0.4)


def test_an_unfound_label_of_a_class_that_is_never_found_is_not_suspect():
    assert suspects(picture(found=HITS[1:]), picture(found=HITS[1:])) == ()


def test_a_label_is_listed_once_at_its_highest_suspicion():
    found = [(LOOSE_CAT, 0.9, "bird"), (LOOSE_CAT, 0.6, "dog"), HITS[1]]
    (suspect,) = suspects(picture((LOOSE_CAT, DOG), found=found))
    assert (suspect.kind, suspect.name) == ("wrong class", "bird")


def test_the_list_goes_by_suspicion_whatever_the_kind():
    ranked = suspects(*PLANTS.values(), SOUND, SOUND)
    assert sorted(ranked, key=lambda one: -one.suspicion) == list(ranked)
    assert {one.kind for one in ranked} == set(SUSPICIONS)


def noisy_data(rng, pictures, share):
    """Labels of which a `share` is spoilt in one of four ways, what a good detector says of the true objects, and the
    spoilt ones as (picture, kind, box): the box of the object, or of the label where there is no object.

    The detector misses a tenth, is unsure of a twentieth, whose class it guesses, and sees a few things that are not.
    """
    samples, found, spoilt = [], [], set()
    for number in range(pictures):
        boxes, names, rows = [], [], []
        for cell in rng.permutation(16)[: int(rng.integers(2, 7))]:
            corner = np.array([cell % 4, cell // 4]) * 150 + rng.integers(0, 60, 2)
            box, name = np.concatenate([corner, corner + rng.integers(30, 80, 2)]), str(rng.choice(NAMES))
            kind = str(rng.choice(SUSPICIONS)) if rng.random() < share else None
            if kind:
                spoilt.add((number, kind, *box.tolist()))
            if kind != "spurious" and rng.random() < 0.9:
                near = box + rng.normal(0, 0.04, 4) * np.tile(box[2:] - box[:2], 2)
                sure = rng.random() < 0.95
                seen = name if sure else str(rng.choice(NAMES))
                rows.append((near.tolist(), float(rng.beta(*((8, 2) if sure else (3, 3)))), seen))
            if kind == "loose":
                box = box + np.array([-1, -1, 1, 1]) * rng.integers(4, 8) * (box[2] - box[0]) / 40
            if kind == "wrong class":
                name = str(rng.choice([other for other in NAMES if other != name]))
            if kind != "missing":
                boxes.append(box)
                names.append(name)
        for _ in range(int(rng.integers(0, 6))):
            corner = rng.integers(0, 560, 2)
            rows.append(([*corner, *(corner + rng.integers(20, 80, 2))], float(rng.beta(2, 6)), str(rng.choice(NAMES))))
        samples.append(sample(boxes, names, f"p{number}"))
        found.append(detections(rows))
    return samples, found, spoilt


@pytest.mark.parametrize("seed", range(3))
def test_spoilt_labels_fill_the_top_of_the_list(seed):
    samples, found, spoilt = noisy_data(np.random.default_rng(seed), 300, 0.06)
    ranked = suspected_label_errors(match(samples, found, NAMES))
    right = [is_spoilt(one, spoilt) for one in ranked]
    assert np.mean(right[: len(spoilt) // 4]) >= 0.8  # where one label in seventeen is spoilt
    assert np.mean(right[: len(spoilt) // 2]) >= 0.6
    hits = Counter(one.kind for one, hit in zip(ranked, right, strict=True) if hit)
    planted = Counter(kind for _, kind, *_ in spoilt)
    assert all(hits[kind] >= 0.5 * planted[kind] for kind in SUSPICIONS)


def is_spoilt(suspect, spoilt):
    """Whether an object that was spoilt in just this way lies where the suspect does."""
    x, y = (suspect.box[0] + suspect.box[2]) / 2, (suspect.box[1] + suspect.box[3]) / 2
    return any(
        (picture, kind) == (suspect.picture, suspect.kind) and x1 < x < x2 and y1 < y < y2
        for picture, kind, x1, y1, x2, y2 in spoilt
    )
