"""Varied pictures: by the key of each alone, boxes along with them, shapes as without."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import COLOURS, shape_sample
from torch.utils import _pytree as pytree

from rcnn.data.augment import Augment, ColourRanges, clipped, cut, jitter, recoloured, zoom_out
from rcnn.data.loader import Batches
from rcnn.data.mosaic import mosaic
from rcnn.data.preprocess import Preprocess
from rcnn.data.repeats import balanced_weights, repeat_factors
from rcnn.sample import Sample

NAMES = tuple(COLOURS)
PREPROCESS = Preprocess(64, 96)
EVERYTHING = Augment(0.5, (), (0.5, 2.0), 0.4, 0.4, 3.0, 0.5, 0.7)
GRAY = np.array([124, 116, 104], np.uint8)


def batches(samples, augment=EVERYTHING, workers=0, **options):
    return Batches(samples, NAMES, PREPROCESS, 3, augment, workers=workers, **options)


def pictures(count=9):
    return [shape_sample(f"p{i}", ((64, 96), (96, 64), (80, 80))[i % 3], objects=i % 4) for i in range(count)]


def chance(seed=0):
    return np.random.default_rng(seed)


def all_same(first, second):
    pairs = list(zip(first, second, strict=True))
    leaves = [(pytree.tree_leaves((a.batch, a.targets)), pytree.tree_leaves((b.batch, b.targets))) for a, b in pairs]
    same = all(torch.equal(x, y) for left, right in leaves for x, y in zip(left, right, strict=True))
    return same and all(a.indices == b.indices for a, b in pairs)


@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function _ConnectionBase.__del__:pytest.PytestUnraisableExceptionWarning"
)
def test_any_number_of_workers_and_a_resumed_epoch_see_the_same_variations():
    repeats = [1.0, 2.5, 1.3] * 3
    alone = list(batches(pictures(), repeats=repeats).epoch(2))
    helped = batches(pictures(), workers=2, repeats=repeats)
    assert all_same(list(helped.epoch(2)), alone)
    assert all_same(list(batches(pictures(), repeats=repeats).epoch(2, skip=2)), alone[2:])


def test_variations_neither_use_nor_change_the_chance_of_others():
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = list(batches(pictures()).epoch(1))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    torch.manual_seed(5)
    np.random.seed(5)
    assert all_same(list(batches(pictures()).epoch(1)), first)
    assert not all_same(list(batches(pictures()).epoch(2))[:1], first[:1])


def test_shapes_are_those_of_pictures_that_do_not_vary():
    plain, varied = (
        Counter(tuple(item.batch.images.shape) for item in batches(pictures(), augment).epoch(1))
        for augment in (Augment(0.5), EVERYTHING)
    )
    assert plain == varied


def test_every_box_lies_on_its_picture_and_covers_a_pixel():
    boxes = 0
    for epoch in range(1, 6):
        for item in batches(pictures()).epoch(epoch):
            for size, own, valid in zip(item.batch.sizes, item.targets.boxes, item.targets.valid, strict=True):
                found = own[valid]
                assert (found >= 0).all()
                assert (found <= size.flip(0).repeat(2) + 1e-3).all()
                assert (found[:, 2:] > found[:, :2]).all()
                boxes += len(found)
    assert boxes > 50


def colour_of(name):
    return torch.tensor(COLOURS[name], dtype=torch.float32)


def test_boxes_stay_on_their_objects():
    """The middle of each box has the colour of its class, whatever else happened to the picture."""
    augment = replace(EVERYTHING, colour=0.0, keep=0.9)
    mean, std = (torch.tensor(values)[:, None, None] for values in (PREPROCESS.mean, PREPROCESS.std))
    checked = 0
    for epoch in range(1, 8):
        for item in batches(pictures(), augment).epoch(epoch):
            images = (item.batch.images * std + mean) * 255
            for image, boxes, labels, valid in zip(
                images, item.targets.boxes, item.targets.labels, item.targets.valid, strict=True
            ):
                for box, label in zip(boxes[valid], labels[valid], strict=True):
                    x, y = ((box[:2] + box[2:]) / 2).long()
                    assert (image[:, y, x] - colour_of(NAMES[label - 1])).abs().max() < 40
                    checked += 1
    assert checked > 50


def view(height=40, width=60, seed=0, **fields):
    picture = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    boxes = np.array([[0, 0, 20, 20], [10, 10, 30, 30], [50, 30, 60, 40]], np.float32)
    return picture, Sample("a", picture, boxes, ("disc", "square", "disc"), **fields)


def test_objects_that_lose_too_much_of_their_area_are_dropped_with_all_that_belongs_to_them():
    flags = {"difficult": np.array([1, 0, 0], bool), "crowd": np.zeros(3, bool), "weight": np.array([3.0, 2.0, 1.0])}
    regions = np.array([[0, 0, 15, 15], [14, 14, 20, 20], [0, 0, 2, 2]], np.float32)
    picture, sample = view(**flags, proposals=regions)
    part, rest = cut((picture, sample), (15, 15, 20, 30), keep=0.25)
    assert (part == picture[15:35, 15:45]).all()
    assert rest.names == ("square",), "a sixteenth of the first is left, half of the third's corner lies outside"
    assert rest.boxes.tolist() == [[0, 0, 15, 15]]
    assert rest.weight.tolist() == [2.0]
    assert rest.difficult.tolist() == [False]
    assert rest.area.tolist() == [225.0]
    assert rest.proposals.tolist() == [[0, 0, 5, 5]]


def test_a_crowd_stays_as_long_as_anything_of_it_does():
    _, sample = view(crowd=np.array([True, False, False]))
    found = clipped(sample, (5, 5), keep=0.9)
    assert found.names == ("disc",)
    assert found.crowd.tolist() == [True]


def test_a_larger_picture_is_cut_and_a_smaller_one_leaves_room():
    one = view()
    (picture, sample), size = jitter(one, (80, 120), 2.0, chance(), keep=0.0)
    assert (picture.shape, size) == ((20, 30, 3), (80, 120))
    assert len(sample.names) < 3
    (picture, sample), size = jitter(one, (80, 120), 0.5, chance(), keep=0.0)
    assert (picture.shape, size) == ((40, 60, 3), (40, 60))
    assert len(sample.names) == 3


def test_zooming_out_puts_the_picture_somewhere_on_gray():
    (picture, sample) = zoom_out(view(), (40, 60), 4.0, chance(3), GRAY)
    assert picture.shape == (40, 60, 3)
    assert (picture == GRAY).all(-1).mean() > 0.2
    scale = sample.boxes[0, 2:] - sample.boxes[0, :2]
    assert (scale < 20).all()
    assert abs(scale[0] - scale[1]) < 1


def test_a_mosaic_holds_four_pictures_around_a_point():
    views = [(np.full((40, 60, 3), 50 * n, np.uint8), view()[1]) for n in range(1, 5)]
    ground, sample = mosaic(views, [(40, 60)] * 4, (40, 60), chance(), GRAY, keep=0.0)
    corners = [ground[y, x, 0] for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1))]
    values = set(np.unique(ground[..., 0]).tolist())
    assert {50, 100, 150, 200} <= values <= {50, 100, 150, 200, GRAY[0]}
    assert all(corner in (50 * n, GRAY[0]) for n, corner in enumerate(corners, 1))
    assert 4 <= len(sample.names) <= 12
    assert ((sample.boxes >= 0) & (sample.boxes <= (60, 40, 60, 40))).all()


def test_regions_of_a_mosaic_come_in_turn_from_each_picture():
    views = [(view()[0], replace(view()[1], proposals=[[0, 0, 40, 40], [5, 5, 39, 39]])) for _ in range(4)]
    _, sample = mosaic(views, [(40, 60)] * 4, (40, 60), chance(), GRAY, keep=0.0)
    assert len(sample.proposals) == 8
    quarters = {(x1 + x2 > 60, y1 + y2 > 40) for x1, y1, x2, y2 in sample.proposals[:4].tolist()}
    assert len(quarters) >= 3, "the first four lie in different quarters"


def test_mosaics_end_before_training_does():
    loader = batches(pictures(), Augment(0.0, mosaic=1.0))
    loader.sampler.mosaic_epochs = 2.5
    for epoch, wanted in ((2, True), (3, False)):
        loader.sampler.epoch = epoch
        assert {bool(draw.others) for draws in loader.sampler for draw in draws} == {wanted}
    others = {draw.others for draws in loader.sampler for draw in draws}
    assert others == {()}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_pictures_of_any_number_of_channels_and_bits_vary(channels, dtype):
    picture = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (40, 60, channels), dtype)
    found = recoloured(picture, ColourRanges(0.5, 0.5, 0.5, 0.2), chance())
    assert found.shape == picture.shape
    assert found.dtype == dtype
    assert (found != picture).mean() > 0.5
    assert (recoloured(picture, ColourRanges(0, 0, 0, 0), chance()) == picture).all()
    ground, _ = mosaic([(picture, view()[1])] * 4, [(40, 60)] * 4, (40, 60), chance(), picture[0, 0], 0.25)
    assert (ground.shape, ground.dtype) == (picture.shape, dtype)


def test_colours_change_as_often_as_asked_and_boxes_do_not():
    plain, coloured = (list(batches(pictures(), Augment(0.0, colour=c)).epoch(1)) for c in (0.0, 0.5))
    changed = []
    for before, after in zip(plain, coloured, strict=True):
        assert torch.equal(before.targets.boxes, after.targets.boxes)
        changed += [not torch.equal(x, y) for x, y in zip(before.batch.images, after.batch.images, strict=True)]
    assert 0 < sum(changed) < 9


def test_varied_pictures_travel_as_bytes_too():
    cpu = torch.device("cpu")
    for raw, plain in zip(batches(pictures(), raw=True).epoch(1), batches(pictures()).epoch(1), strict=True):
        (batch, targets), (expected, truth) = raw.on(cpu), plain.on(cpu)
        torch.testing.assert_close(batch.images, expected.images, rtol=0, atol=2e-5)
        assert torch.equal(targets.boxes, truth.boxes)


def named(*names):
    boxes = np.tile([0, 0, 9, 9], (len(names), 1))
    return Sample("-".join(names) or "none", np.zeros((64, 64, 3), np.uint8), boxes, names)


def test_pictures_of_rare_classes_are_repeated_by_the_root_of_how_rare_they_are():
    samples = [named("disc")] * 15 + [named("disc", "square", "square")]
    factors = repeat_factors(samples, 0.25)
    assert factors[:15] == [1.0] * 15, "f = 1 is above the threshold"
    assert factors[15] == pytest.approx(2.0), "sqrt(0.25 / (1 / 16))"
    assert repeat_factors([*samples, named()], 0.25)[-1] == 1.0
    assert set(repeat_factors(samples, 0.0)) == {1.0}


def test_a_factor_is_how_often_a_picture_comes_on_the_average_and_each_time_it_is_drawn_anew():
    samples = [shape_sample(f"p{i}", objects=1) for i in range(3)]
    loader = Batches(samples, NAMES, PREPROCESS, 2, Augment(0.5, colour=1.0), repeats=[1.0, 2.0, 1.5])
    counts, keys = Counter(), set()
    for loader.sampler.epoch in range(1, 101):
        draws = [draw for batch in loader.sampler for draw in batch]
        counts.update(draw.index for draw in draws)
        keys |= {draw.key for draw in draws}
        assert 4 <= len(draws) <= 5
    assert (counts[0], counts[1]) == (100, 200)
    assert 130 < counts[2] < 170
    assert len(keys) == sum(counts.values()), "no two are alike"


def test_balanced_weights_let_all_classes_count_alike():
    samples = [named("disc", "disc", "disc"), replace(named("square", "square"), crowd=np.array([False, True]))]
    weights = balanced_weights(samples, ("disc", "square", "never"))
    assert weights == {"disc": 0.6667, "square": 2.0, "never": 1.0}
    assert 3 * weights["disc"] == pytest.approx(weights["square"], rel=1e-3)
