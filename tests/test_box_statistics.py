"""The mean and spread of box targets, against a loop over the proposals."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import shape_sample
from oracles import loop_iou

from rcnn.sample import Sample
from rcnn.training.box_statistics import DEFAULT_STD, measure_boxes

NAMES = ("disc", "square", "star")


def scene(seed, crowd=()):
    sample = shape_sample(f"scene{seed}", (120, 160), objects=4)
    rng = np.random.default_rng(seed)
    near = np.concatenate([box + rng.uniform(-7, 7, (30, 4)) for box in sample.boxes]).astype(np.float32)
    flags = np.isin(np.arange(4), crowd)
    return replace(sample, proposals=near, crowd=flags)


def loop_targets(sample, least_iou, mirrored):
    """Rows of label and deltas."""
    rows = []
    objects = [(b, n) for b, n, c in zip(sample.boxes.tolist(), sample.names, sample.crowd, strict=True) if not c]
    for box in [*sample.proposals.tolist(), *(b for b, _ in objects)]:
        overlaps = [loop_iou(box, other) for other, _ in objects]
        if not overlaps or max(overlaps) < least_iou:
            continue
        (x1, y1, x2, y2), name = objects[overlaps.index(max(overlaps))]
        w, h = box[2] - box[0], box[3] - box[1]
        tx, ty = ((x1 + x2) - (box[0] + box[2])) / 2 / w, ((y1 + y2) - (box[1] + box[3])) / 2 / h
        for sign in (1, -1) if mirrored else (1,):
            rows.append((NAMES.index(name) + 1, sign * tx, ty, np.log((x2 - x1) / w), np.log((y2 - y1) / h)))
    return np.array(rows)


@pytest.mark.parametrize("mirrored", [True, False])
@pytest.mark.parametrize("least_iou", [0.5, 0.7])
def test_they_are_those_of_a_loop(least_iou, mirrored):
    samples = [scene(0), scene(1, crowd=(0, 2)), scene(2)]
    mean, std = measure_boxes(samples, NAMES, least_iou, mirrored)
    rows = np.concatenate([loop_targets(sample, least_iou, mirrored) for sample in samples])
    for label in (1, 2):
        own = rows[rows[:, 0] == label][:, 1:]
        np.testing.assert_allclose(mean[label], own.mean(0), atol=1e-6)
        np.testing.assert_allclose(std[label], own.std(0), rtol=1e-4)
    assert mean.dtype == std.dtype == np.float32


def test_mirror_images_have_no_mean_in_x():
    mean, _ = measure_boxes([scene(3)], NAMES)
    assert np.abs(mean[:, 0]).max() < 1e-7
    assert np.abs(mean[:, 1]).max() > 1e-4


def test_a_class_without_proposals_and_the_background_have_the_usual_spread():
    mean, std = measure_boxes([scene(4)], NAMES)
    for label in (0, 3):
        assert mean[label].tolist() == [0, 0, 0, 0]
        np.testing.assert_allclose(std[label], DEFAULT_STD)


def test_pictures_without_objects_or_without_proposals_teach_nothing():
    empty = Sample("empty", np.zeros((8, 8, 3), np.uint8), proposals=np.zeros((0, 4), np.float32))
    mean, std = measure_boxes([empty, replace(empty, proposals=None)], NAMES)
    assert not mean.any()
    np.testing.assert_allclose(std, np.tile(DEFAULT_STD, (4, 1)))


def test_a_class_whose_targets_are_all_the_same_is_not_divided_by_nothing():
    sample = replace(scene(5), proposals=np.zeros((0, 4), np.float32))
    _, std = measure_boxes([sample], NAMES)
    assert std.min() >= np.float32(1e-3)
