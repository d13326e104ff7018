"""The anchor audit: the best anchor is that of a nested loop over all anchors, and proposals reach more."""

import numpy as np
import pytest
import torch

from rcnn import build
from rcnn.anchors import AnchorGrid
from rcnn.api.checking.audit import audit, groups_of
from rcnn.api.checking.better_anchors import Shapes, better_anchors
from rcnn.api.checking.boxes import input_boxes
from rcnn.api.checking.reach import cells_of, reach
from rcnn.api.checking.summary import summarised
from rcnn.boxes import inside, iou
from rcnn.ops.levels import shapes_of
from rcnn.presets.overrides import override, preset
from rcnn.sample import DataSet, Sample

SIZES = {"a": (120, 160), "b": (200, 90), "c": (97, 131)}
PIXELS = np.zeros((1, 1, 3), np.uint8)


def settings(**changes):
    return override(preset("demo"), None, (), {f"model.rpn.{name}": value for name, value in changes.items()})


def sample(name: str, count: int = 12, least: float = 2, most: float = 80) -> Sample:
    rng = np.random.default_rng(list(name.encode()))
    height, width = SIZES[name]
    sides = np.exp(rng.uniform(np.log(least), np.log(most), (count, 2)))
    corners = rng.uniform(0, 1, (count, 2)) * (np.array([width, height]) - sides).clip(0)
    boxes = np.concatenate([corners, corners + sides], axis=1).clip(0, [width, height, width, height])
    return Sample(name, PIXELS, boxes, tuple(rng.choice(["cat", "dog"], count)))


def brute_force(samples, config):
    """The highest IoU of each object with any anchor that takes part in training, with the network itself."""
    process = build.preprocess(config.input)
    model, _ = build.detector(build.resolved(config, False), 1)
    grid = AnchorGrid(config.model.rpn.anchor_sizes, config.model.rpn.anchor_ratios)
    rows = []
    for one in samples:
        height, width = SIZES[one.id]
        resized = process.resized((height, width))
        canvas = process.canvas(resized)
        with torch.no_grad():
            anchors = grid(shapes_of(model.backbone(torch.zeros(1, 3, *canvas))), canvas)
        sizes = torch.tensor([resized])
        usable = anchors.inside(sizes)[0]
        if not config.model.rpn.border:
            usable &= inside(anchors.boxes[None], sizes)[0]
        scale = np.array([resized[1] / width, resized[0] / height] * 2)
        overlaps = iou(torch.tensor(one.boxes * scale).double(), anchors.boxes[usable].double())
        rows += overlaps.max(dim=1).values.tolist()
    return rows


@pytest.mark.parametrize("border", [True, False])
@pytest.mark.parametrize("bucket", ["coarse", "exact32"])
def test_the_best_anchor_of_each_object_is_that_of_a_search_through_all(border, bucket):
    config = override(settings(border=border, anchor_ratios=(0.5, 1.0, 2.5)), None, (), {"input.bucket": bucket})
    samples = [sample(name) for name in SIZES]
    found = reach(input_boxes(samples, SIZES, build.preprocess(config.input)), config, cells_of(config))
    best = found.best(config.model.rpn.anchor_sizes, config.model.rpn.anchor_ratios)
    np.testing.assert_allclose(best, brute_force(samples, config), atol=1e-6)
    assert best.std() > 0.1


def test_where_no_anchor_fits_into_the_picture_none_is_reached():
    config = settings(border=False, anchor_sizes=((900,), (900,), (900,), (900,), (900,)))
    found = reach(input_boxes([sample("a")], SIZES, build.preprocess(config.input)), config, cells_of(config))
    assert found.best(config.model.rpn.anchor_sizes, config.model.rpn.anchor_ratios).tolist() == [0] * 12


@pytest.mark.parametrize("name", ["faster-rcnn-mobilenet-fpn", "faster-rcnn-zf", "demo"])
def test_a_network_tells_its_cells_without_numbers(name):
    config = preset(name)
    model, _ = build.detector(build.resolved(config, False), 1)
    with torch.no_grad():
        shapes = shapes_of(model.backbone(torch.zeros(1, 3, 96, 160)))
    cells = cells_of(config)
    assert [(height, width) for height, width in zip(cells(96), cells(160), strict=True)] == shapes


def test_recall_is_told_of_all_by_size_and_by_class_at_both_thresholds():
    config = settings(positive_iou=0.7)
    found = input_boxes([sample("a"), sample("b")], SIZES, build.preprocess(config.input))
    told = audit(found, config)
    best = reach(found, config, cells_of(config)).best(config.model.rpn.anchor_sizes, config.model.rpn.anchor_ratios)
    assert told.all.objects == 24
    assert told.all.positive == pytest.approx((best >= 0.7).mean())
    assert told.all.half == pytest.approx((best >= 0.5).mean())
    names = np.array(found.names)
    assert told.classes["cat"].half == pytest.approx((best[names == "cat"] >= 0.5).mean())
    small = np.sqrt((found.boxes[:, 2:] - found.boxes[:, :2]).prod(axis=1)) < 32
    assert told.sizes["small"].mean_iou == pytest.approx(best[small].mean())
    assert sum(one.objects for one in told.sizes.values()) == 24


def test_long_objects_that_square_anchors_miss_get_anchors_that_reach_them_at_the_same_cost():
    config = settings(anchor_ratios=(1.0, 1.6))
    rng = np.random.default_rng(0)
    lefts = rng.uniform(0, 80, 60)
    boxes = np.stack([lefts, lefts / 2, lefts + 72, lefts / 2 + 12], axis=1)  # six times as wide as high
    data = [Sample("a", PIXELS, boxes, ("pen",) * 60)]
    told = audit(input_boxes(data, SIZES, build.preprocess(config.input)), config)
    assert told.all.half < 0.5
    assert told.proposed.all.half > 0.95
    assert [len(row) for row in told.proposed.anchors.sizes] == [1] * 5
    assert len(told.proposed.anchors.ratios) == 2
    assert min(told.proposed.anchors.ratios) < 0.3


def test_proposed_anchors_are_settings_that_can_be_pasted():
    config = settings()
    found = input_boxes([sample("a", least=5, most=9)], SIZES, build.preprocess(config.input))
    proposed = audit(found, config).proposed
    again = override(config, None, proposed.settings, {})
    assert again.model.rpn.anchor_sizes == proposed.anchors.sizes
    assert again.model.rpn.anchor_ratios == proposed.anchors.ratios
    assert audit(found, again).all == proposed.all


def test_the_search_never_makes_it_worse_and_keeps_sizes_in_order():
    config = settings()
    found = input_boxes([sample(name, 30) for name in SIZES], SIZES, build.preprocess(config.input))
    here = reach(found, config, cells_of(config))
    now = Shapes(config.model.rpn.anchor_sizes, config.model.rpn.anchor_ratios)
    better = better_anchors(here, now, 0.7)
    flat = [side for row in better.sizes for side in row]
    assert flat == sorted(flat)
    assert here.best(better.sizes, better.ratios).mean() > here.best(now.sizes, now.ratios).mean()


def test_anchors_that_reach_everything_are_left_alone_and_methods_without_have_none():
    config = settings(anchor_sizes=((16,), (32,), (48,), (64,), (96,)), anchor_ratios=(1.0,), positive_iou=0.5)
    boxes = np.array([[20, 20, 44, 44], [50, 20, 98, 68]])  # squares: 32 and 64 pixels once resized
    found = input_boxes([Sample("a", PIXELS, boxes, ("cat", "cat"))], SIZES, build.preprocess(config.input))
    assert audit(found, config).proposed is None
    assert audit(found, preset("fast-rcnn-mobilenet-fpn")) is None
    assert audit(input_boxes([], SIZES, build.preprocess(config.input)), config) is None


def test_crowds_are_not_counted_and_difficult_ones_as_they_are_trained():
    flags = {"crowd": np.array([True, False, False]), "difficult": np.array([False, True, False])}
    one = Sample("a", PIXELS, np.tile([[1, 1, 30, 30]], (3, 1)), ("cat",) * 3, **flags)
    process = build.preprocess(settings().input)
    assert input_boxes([one], SIZES, process).counted.tolist() == [False, True, True]
    assert input_boxes([one], SIZES, process, difficult=False).counted.tolist() == [False, False, True]


def test_the_summary_counts_pictures_boxes_classes_and_shapes_at_the_input_scale():
    one = Sample("a", PIXELS, np.array([[0, 0, 30, 60], [0, 0, 6, 6], [0, 0, 90, 90]]), ("cat", "cat", "dog"))
    data = DataSet({"train": [one, Sample("b", PIXELS)], "trainval": [one]}, ("cat", "dog", "emu"))
    config = settings()  # 160 x 208: the first picture grows by 1.3
    found = input_boxes([one], SIZES, build.preprocess(config.input))
    told = summarised(data, found, (160, 208))
    assert (told.whole.pictures, told.whole.empty, told.whole.boxes) == (2, 1, 3)
    assert told.whole.classes == {"cat": 2, "dog": 1, "emu": 0}
    assert (told.splits["trainval"].pictures, told.splits["trainval"].empty) == (1, 0)
    assert told.per_picture["100"] == 3
    assert told.sides["0"] == pytest.approx(6 * 1.3, abs=0.05)
    assert told.ratios["100"] == pytest.approx(2, abs=0.02)
    assert told.sizes == {"small": 1, "medium": 1, "large": 1}
    assert told.octaves == {8: 1, 16: 0, 32: 0, 64: 1, 128: 1}


def test_a_summary_of_nothing_has_no_numbers():
    told = summarised(DataSet({}, ()), input_boxes([], {}, build.preprocess(settings().input)), (160, 208))
    assert (told.sides, told.ratios, told.octaves, told.whole.boxes) == ({}, {}, {}, 0)


def test_small_medium_and_large_end_at_32_and_96_pixels():
    groups = groups_of(np.array([31.9, 32, 95.9, 96]))
    assert {name: rows.tolist() for name, rows in groups.items()} == {
        "small": [True, False, False, False],
        "medium": [False, True, True, False],
        "large": [False, False, False, True],
    }
