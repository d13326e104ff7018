"""The file of features: its size is known, a crash costs one picture, and nothing else passes for it."""

import errno
import os
import shutil
from collections import namedtuple

import numpy as np
import pytest
from feature_scenes import filled_file, regions_in, vectors_of
from oracles import loop_iou

from rcnn.errors import ConfigError, DataError, TrainingError
from rcnn.sample import Sample
from rcnn.training.feature_plan import FeaturePlan, content_key, readable_bytes
from rcnn.training.features import FeatureFile, scale_to_norm
from rcnn.training.regions import regions_of

PICTURES = [regions_in(10, seed=0), regions_in(0, (), seed=1, near=0), regions_in(7, (2,), seed=2)]


def plan_of(key="a", pictures=PICTURES, width=5, pooled_width=3, **options):
    return FeaturePlan(pictures, key, width, pooled_width, **options)


def sample_with(proposals, boxes=(), names=(), **flags):
    return Sample("one", "one.png", np.array(boxes, np.float32), names, **flags, proposals=proposals)


def test_regions_are_the_best_proposals_and_then_the_true_boxes():
    proposals = np.array([[0, 0, 10, 10], [5, 5, 15, 15], [50, 50, 60, 60]], np.float32)
    truth = [[0, 0, 10, 8], [4, 5, 15, 15], [0, 0, 5, 10]]
    regions = regions_of(sample_with(proposals, truth, ("b", "a", "b"), difficult=[False, True, False]), ("a", "b"), 2)
    assert regions.boxes.tolist() == proposals[:2].tolist() + truth
    assert regions.truth.tolist() == [0, 0, 2, 1, 2]
    assert regions.difficult.tolist() == [False, False, False, True, False]
    for box, (a, b) in zip(regions.boxes.tolist(), regions.overlaps.tolist(), strict=True):
        assert a == pytest.approx(loop_iou(box, truth[1]))
        assert b == pytest.approx(max(loop_iou(box, truth[0]), loop_iou(box, truth[2])))


def test_a_crowd_is_no_truth_and_what_lies_in_it_no_background():
    proposals = np.array([[0, 0, 10, 10], [0, 0, 8, 9], [15, 0, 26, 10], [15, 0, 25, 10]], np.float32)
    sample = sample_with(proposals, [[0, 0, 20, 20], [0, 0, 10, 10]], ("a", "a"), crowd=[True, False])
    regions = regions_of(sample, ("a",), 100)
    assert regions.boxes.tolist() == [*proposals[:3].tolist(), [0, 0, 10, 10]], "half in the crowd, and on no object"
    assert regions.truth.tolist() == [0, 0, 0, 1]
    assert regions.overlaps[2, 0] == 0


@pytest.mark.parametrize("objects", [0, 1])
def test_pictures_without_proposals_or_objects_have_regions_too(objects):
    box = [[0.0, 0.0, 4.0, 4.0]] * objects
    regions = regions_of(sample_with(np.zeros((0, 4), np.float32), box, ("a",) * objects), ("a", "b"), 9)
    assert regions.boxes.shape == (objects, 4)
    assert regions.overlaps.shape == (objects, 2)


def test_a_sample_that_cannot_be_used_is_named():
    with pytest.raises(
        DataError, match=r"^sample one: has no proposals, which this method needs; make them with rcnn propose$"
    ):
        regions_of(Sample("one", "one.png"), ("a",), 9)
    with pytest.raises(DataError, match=r"^sample one: class z is not one of the model's"):
        regions_of(sample_with(np.zeros((0, 4)), [[0, 0, 1, 1]], ("z",)), ("a",), 9)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("pooled_width", [0, 3])
def test_the_size_is_known_before_anything_is_written(tmp_path, dtype, pooled_width):
    plan = plan_of(pooled_width=pooled_width, dtype=dtype)
    rows = sum(map(len, PICTURES))
    near = sum(int(((one.truth == 0) & (one.overlaps.max(1) >= 0.5)).sum()) for one in PICTURES)
    assert 0 < near < rows
    features = np.dtype(dtype).itemsize * (rows * 5 + near * pooled_width)
    assert features < plan.nbytes < features + 10_000
    file = FeatureFile(tmp_path / "features", plan)
    assert (tmp_path / "features").stat().st_size == plan.nbytes
    assert file.all_vectors.shape == (rows, 5)
    assert file.all_pooled.shape == (near if pooled_width else 0, pooled_width)


@pytest.mark.parametrize(("nbytes", "words"), [(182_400_000, "182.4 MB"), (52_300_000_000, "52.3 GB")])
def test_the_size_is_told_in_words_of_people(nbytes, words):
    assert readable_bytes(nbytes) == words


def test_what_is_written_is_read_by_picture(tmp_path):
    filled_file(tmp_path / "f", PICTURES, width=5, pooled_width=3)
    file = FeatureFile(tmp_path / "f", plan_of(dtype="float32"))
    assert file.done.all()
    file.require_done()
    for picture, regions in enumerate(PICTURES):
        assert np.array_equal(file.vectors(picture), vectors_of(regions, 5, picture))
        rows = file.pooled_rows(picture)
        assert np.array_equal(file.pooled(picture), vectors_of(regions, 3, 500 + picture)[rows])
        assert (regions.truth[rows] == 0).all()
        assert (regions.overlaps[rows].max(1) >= 0.5).all()
        for name in ("boxes", "overlaps", "truth", "difficult"):
            assert np.array_equal(getattr(file.regions(picture), name), getattr(regions, name))


def test_readers_cannot_spoil_the_file(tmp_path):
    file = filled_file(tmp_path / "f", PICTURES)
    for view in (file.vectors(0), file.pooled(0), file.all_vectors, file.first_row):
        assert not view.flags.writeable
    file.regions(0).boxes[:] = -1
    file.done[:] = False
    assert file.done.all()
    assert (file.regions(0).boxes >= 0).any()


def test_a_crash_between_features_and_mark_costs_one_picture(tmp_path, monkeypatch):
    file = FeatureFile(tmp_path / "f", plan_of())
    empty = [np.zeros((len(file.pooled_rows(picture)), 3)) for picture in range(3)]
    file.write(0, np.ones((len(PICTURES[0]), 5)), empty[0])

    def crash(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np.memmap, "flush", crash)
        with pytest.raises(KeyboardInterrupt):
            file.write(2, np.ones((len(PICTURES[2]), 5)), empty[2])
    again = FeatureFile(tmp_path / "f", plan_of())
    assert again.done.tolist() == [True, False, False]
    assert (again.vectors(0) == 1).all()
    with pytest.raises(ValueError, match="2 of 3 pictures have no features yet"):
        again.require_done()
    again.write(2, np.full((len(PICTURES[2]), 5), 2.0), empty[2])
    assert FeatureFile(tmp_path / "f", plan_of()).done.tolist() == [True, False, True]
    assert (again.vectors(2) == 2).all()


@pytest.mark.parametrize(
    "other",
    [
        plan_of("b"),
        plan_of(width=6),
        plan_of(dtype="float32"),
        plan_of(pooled_iou=0.6),
        plan_of(pictures=[*PICTURES[:2], regions_in(7, (2,), seed=3)]),
    ],
    ids=["key", "width", "type", "iou", "boxes"],
)
def test_a_file_of_other_content_is_begun_anew(tmp_path, other):
    filled_file(tmp_path / "f", PICTURES, width=5, pooled_width=3, dtype="float16")
    assert FeatureFile(tmp_path / "f", plan_of()).done.all()
    assert not FeatureFile(tmp_path / "f", other).done.any()
    assert not FeatureFile(tmp_path / "f", plan_of()).done.any()
    assert [file.name for file in tmp_path.iterdir()] == ["f"]


def test_a_file_that_lost_its_end_is_begun_anew(tmp_path):
    filled_file(tmp_path / "f", PICTURES, width=5, pooled_width=3, dtype="float16")
    os.truncate(tmp_path / "f", 5000)
    assert not FeatureFile(tmp_path / "f", plan_of()).done.any()


@pytest.mark.parametrize(
    "content", [b"", b"precious", b"RCNNFEAT", b"RCNNFEAT\2\0\0\0\0\0\0\0{}", b"RCNNFEAT" + b"\377" * 20]
)
def test_a_file_of_another_kind_is_left_alone(tmp_path, content):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(DataError, match="not a file of features; move it away or name another file"):
        FeatureFile(tmp_path / "f", plan_of())
    assert (tmp_path / "f").read_bytes() == content


def test_a_newer_format_is_refused(tmp_path):
    path = tmp_path / "f"
    FeatureFile(path, plan_of())
    path.write_bytes(path.read_bytes().replace(b'"format_version": 1', b'"format_version": 7'))
    with pytest.raises(DataError, match=r"format 7, and this version reads up to 1; upgrade rcnn$"):
        FeatureFile(path, plan_of())


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000, 0, 1000))
    with pytest.raises(
        ConfigError, match=r"f: features take 0\.0 MB and the disk has 0\.0 MB free; free some"
    ) as caught:
        FeatureFile(tmp_path / "f", plan_of())
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_room_of_the_file_that_is_replaced_counts_as_free(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    FeatureFile(tmp_path / "f", plan_of("a"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000, 0, 1000))
    assert len(FeatureFile(tmp_path / "f", plan_of("b"))) == 3


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system does not reserve room for a file")
def test_a_disk_that_becomes_full_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ConfigError, match="and the disk became full"):
        FeatureFile(tmp_path / "f", plan_of())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("value", "dtype"), [(1e6, "float16"), (np.nan, "float32"), (np.inf, "float32")])
def test_features_that_are_not_finite_are_never_marked_as_done(tmp_path, value, dtype):
    file = FeatureFile(tmp_path / "f", plan_of(dtype=dtype))
    pooled = np.zeros((len(file.pooled_rows(0)), 3))
    with pytest.raises(TrainingError, match="picture 0: vectors are too large for") as caught:
        file.write(0, np.full((len(PICTURES[0]), 5), value), pooled)
    assert "\n" not in str(caught.value)
    assert not file.done.any()


def test_features_of_another_shape_are_refused(tmp_path):
    file = FeatureFile(tmp_path / "f", plan_of())
    with pytest.raises(ValueError, match=r"picture 0: vectors of shape \(1, 5\)"):
        file.write(0, np.zeros((1, 5)), np.zeros((len(file.pooled_rows(0)), 3)))


def test_the_scale_brings_the_mean_norm_to_what_is_asked(tmp_path):
    file = filled_file(tmp_path / "f", PICTURES)
    scale = scale_to_norm(file.vectors, len(file), 20.0)
    assert np.linalg.norm(file.all_vectors * scale, axis=1).mean() == pytest.approx(20)
    assert scale_to_norm(lambda _: np.zeros((3, 4)), 2, 20.0) == 1
    assert scale_to_norm(lambda _: np.zeros((0, 4)), 2, 20.0) == 1


def test_the_key_changes_with_the_content_alone(tmp_path):
    weights = tmp_path / "weights"
    weights.write_bytes(b"one")
    settings = {"scale": 688, "layers": [1, 2.0, None, "x"]}
    key = content_key(weights, np.arange(3), settings)
    assert key == content_key(weights, np.arange(3), dict(reversed(settings.items())))
    weights.write_bytes(b"two")
    keys = {
        key,
        content_key(weights, np.arange(3), settings),
        content_key(np.arange(3)),
        content_key(np.arange(3.0)),
        content_key(np.arange(4).reshape(2, 2)),
        content_key(np.arange(4)),
        *(content_key(*parts) for parts in (["ab"], ["a", "b"], [["a", "b"]], [1], [True], ["1"], [1.0], [])),
    }
    assert len(keys) == 14
    with pytest.raises(TypeError, match="no content key for a set"):
        content_key({1})
