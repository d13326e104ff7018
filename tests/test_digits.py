"""The scenes of the demo: the same everywhere, true to their boxes, and readable."""

import hashlib
import pickle

import numpy as np
import pytest

from rcnn.data import digits
from rcnn.data.digits import DigitScene, digit_scenes
from rcnn.errors import DataError
from rcnn.sample import Sample


@pytest.fixture(scope="module")
def scenes() -> list[Sample]:
    return digit_scenes(300, 0, 0, seed=0).splits["train"]


def test_the_same_seed_gives_the_same_scenes():
    first, second = (digit_scenes(2, 2, 2, seed=5) for _ in range(2))
    for split, samples in first.splits.items():
        for one, other in zip(samples, second.splits[split], strict=True):
            assert (one.id, one.names) == (other.id, other.names)
            np.testing.assert_array_equal(one.boxes, other.boxes)
            np.testing.assert_array_equal(one.picture(), other.picture())


def test_the_scenes_are_those_of_every_other_machine():
    samples = [sample for split in digit_scenes(3, 3, 3, seed=0).splits.values() for sample in split]
    content = b"".join(sample.picture().tobytes() + sample.boxes.tobytes() for sample in samples)
    assert hashlib.sha256(content).hexdigest()[:16] == "3e3ad435138a58ee"


def test_fewer_scenes_are_the_first_of_more():
    few, more = digit_scenes(2, 1, 0, seed=1), digit_scenes(4, 3, 2, seed=1)
    for split in ("train", "val"):
        for one, other in zip(few.splits[split], more.splits[split], strict=False):
            np.testing.assert_array_equal(one.picture(), other.picture())


def test_seeds_and_splits_and_indices_give_different_pictures():
    samples = [s for seed in (0, 1) for split in digit_scenes(2, 2, 2, seed).splits.values() for s in split]
    assert len({sample.picture().tobytes() for sample in samples}) == len(samples) == 12


def test_no_scan_is_used_in_two_splits():
    pools = list(digits._pools(3).values())
    assert sorted(np.concatenate(pools).tolist()) == list(range(1797))
    assert all(set(range(10)) == set(digits._scans()[1][pool].tolist()) for pool in pools)


def test_ids_are_unique_and_the_classes_are_the_ten_digits():
    data = digit_scenes(3, 3, 3, seed=0)
    ids = [sample.id for split in data.splits.values() for sample in split]
    assert len(set(ids)) == 9
    assert data.class_names == tuple("0123456789")


def test_a_scene_is_small_to_pickle_and_draws_the_same_afterwards(scenes):
    frozen = pickle.dumps(scenes[0].picture)
    assert len(frozen) < 30_000
    np.testing.assert_array_equal(pickle.loads(frozen)(), scenes[0].picture())


def test_a_picture_is_rgb_of_the_size_asked_for():
    sample = digit_scenes(0, 0, 1, seed=0, size=(120, 300)).splits["test"][0]
    picture = sample.picture()
    assert picture.shape == (120, 300, 3)
    assert picture.dtype == np.uint8


def test_a_size_too_small_for_the_digits_is_refused():
    with pytest.raises(DataError, match=r"size 40x300: too small .* at least 112x112"):
        digit_scenes(1, 0, 0, seed=0, size=(40, 300))


def test_boxes_are_tight_around_the_ink(scenes):
    for sample in scenes:
        scene = sample.picture
        assert isinstance(scene, DigitScene)
        for digit, box in zip(scene.digits, sample.boxes.tolist(), strict=True):
            assert digit.box == tuple(box)
            edges = (digit.ink[0], digit.ink[-1], digit.ink[:, 0], digit.ink[:, -1])
            assert all(edge.max() > 40 for edge in edges)


def test_digits_lie_inside_the_picture_and_hardly_cover_each_other(scenes):
    for sample in scenes:
        boxes = [tuple(box) for box in sample.boxes.astype(int).tolist()]
        assert all(x1 >= 2 and y1 >= 2 and x2 <= 206 and y2 <= 158 for x1, y1, x2, y2 in boxes)
        pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i]]
        assert all(digits._overlap(a, b) <= 0.05 for a, b in pairs)


def test_about_one_scene_in_25_is_empty_and_the_others_hold_up_to_six_digits(scenes):
    counts = [len(sample.names) for sample in scenes]
    assert set(counts) == {0, 1, 2, 3, 4, 5, 6}
    assert 0.02 < counts.count(0) / len(counts) < 0.07


def test_digits_are_20_to_64_pixels_tall_and_every_class_is_frequent(scenes):
    heights = np.concatenate([sample.boxes[:, 3] - sample.boxes[:, 1] for sample in scenes])
    assert heights.min() >= 20
    assert heights.max() <= 64
    names = [name for sample in scenes for name in sample.names]
    assert min(names.count(name) for name in "0123456789") > 0.06 * len(names)


def test_ink_stands_out_from_what_is_around_it(scenes):
    contrasts = [contrast for sample in scenes[:40] for contrast in ink_contrasts(sample)]
    assert np.quantile(contrasts, 0.03) > 0.25


def ink_contrasts(sample: Sample) -> list[float]:
    """Difference in brightness between the ink and the rest of the box, for each digit."""
    luma = sample.picture() @ np.array([0.299, 0.587, 0.114]) / 255
    crops = [(luma[d.y : d.y + d.ink.shape[0], d.x : d.x + d.ink.shape[1]], d.ink) for d in sample.picture.digits]
    return [abs(crop[ink > 250].mean() - crop[ink < 5].mean()) for crop, ink in crops if (ink < 5).any()]
