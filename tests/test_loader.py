"""Batches: all chance keyed by seed, epoch and picture; complete, labelled, and with clean errors."""

import gc
from collections import Counter
from dataclasses import replace
from functools import partial
from threading import Barrier, get_ident

import numpy as np
import pytest
import torch
from conftest import COLOURS, prepare, shape_data, shape_sample, tiny_config, write_voc
from PIL import Image
from torch.utils import _pytree as pytree

from rcnn.api import read_data
from rcnn.data import open_data
from rcnn.data.loader import Augment, Batches, make_targets, mirror
from rcnn.data.picture import resolve
from rcnn.data.preprocess import Preprocess
from rcnn.errors import DataError
from rcnn.sample import DataSet, Sample

NAMES = tuple(COLOURS)
PREPROCESS = Preprocess(64, 96)
LANDSCAPE, PORTRAIT, SQUARE = (64, 96), (96, 64), (64, 64)


def mixed(count=11):
    """Samples of three canvases, as no batch size divides them."""
    sizes = (LANDSCAPE, PORTRAIT, SQUARE)
    return [shape_sample(f"p{i}", sizes[i % 3], objects=i % 3) for i in range(count)]


def batches(samples, batch=4, augment=None, seed=0, workers=0, shuffle=True):
    return Batches(samples, NAMES, PREPROCESS, batch, augment or Augment(0.5), seed, workers, shuffle)


def same(a, b):
    left, right = (pytree.tree_leaves((item.batch, item.targets)) for item in (a, b))
    return a.indices == b.indices and all(torch.equal(x, y) for x, y in zip(left, right, strict=True))


def all_same(first, second):
    return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))


@pytest.fixture
def workers_end():
    """What workers leave behind is cleared away before the next test.

    CPython may close a pipe of theirs twice when the loader goes away: the tests that
    begin workers bear with it, and no other.
    """
    yield
    gc.collect()


BEGINS_WORKERS = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function _ConnectionBase.__del__:pytest.PytestUnraisableExceptionWarning"
)


@BEGINS_WORKERS
@pytest.mark.usefixtures("workers_end")
def test_workers_change_nothing_and_neither_does_an_interruption():
    augment = Augment(0.5, (48, 64))
    alone = list(batches(mixed(), augment=augment).epoch(2))
    helped = batches(mixed(), augment=augment, workers=2)
    assert all_same(list(helped.epoch(2)), alone)
    assert all_same(list(helped.epoch(2, skip=2)), alone[2:])
    assert all_same(list(batches(mixed(), augment=augment).epoch(2, skip=len(alone) - 1)), alone[-1:])


def test_what_came_before_changes_nothing():
    loader = batches(mixed())
    first = list(loader.epoch(1))
    next(iter(loader.epoch(5)))
    torch.manual_seed(9)
    np.random.seed(9)
    assert all_same(list(loader.epoch(1)), first)


def test_every_picture_comes_once_an_epoch_and_shares_its_canvas():
    samples = mixed()
    for item in (loader := batches(samples)).epoch(3):
        canvases = {PREPROCESS.canvas(PREPROCESS.resized(samples[i].picture.shape[:2])) for i in item.indices}
        assert canvases == {tuple(item.batch.images.shape[2:])}
    indices = [index for item in loader.epoch(3) for index in item.indices]
    assert sorted(indices) == list(range(len(samples)))
    assert len(loader) == sum(1 for _ in loader.epoch(3))


def test_epochs_and_seeds_differ():
    samples = mixed()
    loader = batches(samples)
    orders = [[item.indices for item in loader.epoch(number)] for number in (1, 2)]
    orders.append([item.indices for item in batches(samples, seed=1).epoch(1)])
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]
    keys = [next(iter(loader.epoch(number))).targets.keys.tolist() for number in (1, 2)]
    assert keys[0] != keys[1]


def test_unshuffled_batches_keep_the_order_and_their_draws():
    samples = [shape_sample(f"p{i}") for i in range(5)]
    loader = Batches(samples, NAMES, PREPROCESS, 2, None, shuffle=False)
    assert [item.indices for item in loader.epoch(0)] == [(0, 1), (2, 3), (4,)]
    assert all_same(list(loader.epoch(0)), list(loader.epoch(0)))


def test_an_incomplete_batch_is_filled_with_pictures_of_weight_0():
    (item,) = batches([shape_sample("a"), shape_sample("b")], batch=4, augment=Augment(0)).epoch(1)
    assert item.batch.images.shape[0] == 4
    assert item.batch.weight.tolist() == [1, 1, 0, 0]
    assert item.targets.boxes.shape[0] == 4
    assert not item.targets.valid[2:].any()
    assert not item.batch.images[2:].any()


def test_boxes_follow_the_resized_picture():
    sample = Sample("a", np.zeros((32, 40, 3), np.uint8), np.array([[4, 8, 20, 16]]), ("square",))
    (item,) = batches([sample], 1, Augment(0)).epoch(1)
    assert item.batch.sizes.tolist() == [[64, 80]]
    assert item.targets.boxes[0, 0].tolist() == [8, 16, 40, 32]
    assert item.targets.labels[0, :2].tolist() == [2, 0]
    assert item.targets.valid[0].tolist() == [True] + [False] * 7


def test_a_mirrored_picture_has_mirrored_boxes():
    sample = shape_sample("a", (64, 80))
    plain, mirrored = (next(batches([sample], 1, Augment(flip)).epoch(1)) for flip in (0.0, 1.0))
    assert torch.equal(mirrored.batch.images[..., :80], plain.batch.images[..., :80].flip(-1))
    assert torch.equal(mirrored.batch.images[..., 80:], plain.batch.images[..., 80:])
    for (x1, y1, x2, y2), found in zip(sample.boxes.tolist(), mirrored.targets.boxes[0].tolist(), strict=False):
        assert found == [80 - x2, y1, 80 - x1, y2]
    assert (mirror(mirror(sample.boxes, 80), 80) == sample.boxes).all()


def test_flips_come_as_often_as_asked():
    loader = batches([replace(shape_sample("a"), id=f"p{i}") for i in range(40)], augment=Augment(0.5))
    loader.sampler.epoch = 1
    flips = [draw.mirrored for draws in loader.sampler for draw in draws]
    assert 10 < sum(flips) < 30


def test_short_sides_are_drawn_from_all_scales():
    loader = batches([shape_sample(f"p{i}") for i in range(20)], 2, Augment(0, (32, 64)))
    shorts = Counter(int(size) for item in loader.epoch(1) for size in item.batch.sizes[: len(item.indices), 0])
    assert shorts.keys() == {32, 64}
    assert min(shorts.values()) > 3


def test_rows_of_truth_grow_by_powers_of_two():
    labels = {name: number for number, name in enumerate(NAMES, 1)}
    for objects, rows in ((0, 8), (8, 8), (9, 16), (33, 64)):
        sample = Sample("a", np.zeros((9, 9, 3), np.uint8), np.tile([0, 0, 4, 4], (objects, 1)), ("disc",) * objects)
        targets = make_targets([sample], labels, [7], 2)
        assert targets.boxes.shape == (2, rows, 4)
        assert targets.valid.sum() == objects
        assert (targets.boxes[..., 2:] > targets.boxes[..., :2]).all()


def test_flags_and_weights_reach_the_targets():
    flags = {"difficult": np.array([True, False]), "crowd": np.array([False, True]), "weight": np.array([0.5, 2.0])}
    for array in flags.values():
        array.flags.writeable = False
    sample = Sample("a", np.zeros((64, 64, 3), np.uint8), np.array([[0, 0, 9, 9], [5, 5, 20, 20]]), NAMES, **flags)
    targets = next(batches([sample], 1).epoch(1)).targets
    for name, wanted in flags.items():
        assert getattr(targets, name)[0, :2].tolist() == wanted.tolist()
    assert not targets.weight[0, 2:].any()


def test_a_class_that_is_not_to_be_learned_is_refused_at_once():
    sample = Sample("odd", np.zeros((9, 9, 3), np.uint8), np.array([[0, 0, 4, 4]]), ("star",))
    with pytest.raises(DataError, match=r"^odd: class 'star' is not among disc, square$"):
        batches([sample])


@BEGINS_WORKERS
@pytest.mark.usefixtures("workers_end")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_picture_is_one_clean_line(tmp_path, workers):
    data = open_data(write_voc(tmp_path / "data", shape_data(4, 0))).dataset
    samples = data.splits["train"]
    loader = batches(samples, 1, workers=workers)
    file = samples[2].picture
    file.write_bytes(file.read_bytes()[:900])
    with pytest.raises(DataError) as caught:
        list(loader.epoch(1))
    message = str(caught.value)
    assert message.startswith(f"{file}: cannot be decoded")
    assert "\n" not in message
    assert "DataError" not in message


def test_pictures_may_be_files_arrays_or_functions(tmp_path):
    array = shape_sample("a")
    path = tmp_path / "a.png"
    Image.fromarray(array.picture).save(path)
    forms = [array, replace(array, picture=path), replace(array, picture=lambda: array.picture)]
    first, *others = (list(batches([form]).epoch(1)) for form in forms)
    assert all(all_same(first, other) for other in others)


def files_of(samples, folder):
    """The same samples, their pictures in files."""
    return open_data(write_voc(folder / "files", DataSet({"train": samples}, NAMES))).dataset.splits["train"]


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_several_threads_give_the_batches_of_one(three_threads, tmp_path):
    samples = files_of(mixed(), tmp_path)
    augment = Augment(0.5, mosaic=0.5, colour=0.5)
    several = list(batches(samples, augment=augment).epoch(1))
    torch.set_num_threads(1)
    assert all_same(list(batches(samples, augment=augment).epoch(1)), several)


def test_files_are_read_by_several_threads_and_functions_called_by_one(three_threads, tmp_path, monkeypatch):
    samples, callers = [shape_sample(str(n)) for n in range(3)], set()

    def made(sample):
        callers.add(get_ident())
        return sample.picture

    list(batches([replace(one, picture=partial(made, one)) for one in samples]).epoch(1))
    assert len(callers) == 1

    all_three = Barrier(3)  # which only three threads at once can pass

    def read(*args):
        all_three.wait(20)
        return resolve(*args)

    monkeypatch.setattr("rcnn.data.loader.resolve", read)
    assert len(list(batches(files_of(samples, tmp_path)).epoch(1))) == 1


@BEGINS_WORKERS
@pytest.mark.usefixtures("workers_end")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_without_a_list_of_regions_is_refused_by_name(workers):
    samples = [replace(shape_sample("some"), proposals=[[0, 0, 9, 9]]), shape_sample("none")]
    loader = Batches(samples, NAMES, PREPROCESS, 2, workers=workers, proposals=8)
    with pytest.raises(DataError, match=r"^sample none: has no proposals, .* make them with rcnn propose$"):
        list(loader.epoch(1))


@pytest.mark.parametrize("side", [np.nan, np.inf])
def test_regions_of_ones_own_that_are_not_finite_are_refused_by_name(side):
    data = DataSet({"train": [replace(shape_sample("odd"), proposals=[[0, 0, 9, 9], [0, 0, side, 9]])]}, NAMES)
    with pytest.raises(DataError, match=r"^sample odd: one of its proposals is not finite; leave it out$"):
        read_data(data)


def test_a_data_set_of_ones_own_trains(tmp_path):
    def made(name):
        sample = shape_sample(name)
        return replace(sample, picture=lambda: sample.picture)

    data = DataSet({"mine": [made("a"), shape_sample("b"), made("c")]}, NAMES)
    prepared = prepare(data, tmp_path / "run", tiny_config(epochs=1), train_split="mine", val_split="none")
    prepared.training.run()
    assert prepared.training.number == 1


def test_batches_that_travel_as_bytes_become_the_same_batches():
    samples = [shape_sample(str(n)) for n in range(3)]
    common = (samples, ("disc", "square"), Preprocess(64, 96), 2)
    cpu = torch.device("cpu")
    for raw, plain in zip(Batches(*common, raw=True).epoch(1), Batches(*common).epoch(1), strict=True):
        (batch, targets), (expected, truth) = raw.on(cpu), plain.on(cpu)
        torch.testing.assert_close(batch.images, expected.images, rtol=0, atol=2e-6)
        assert torch.equal(batch.sizes, expected.sizes)
        assert torch.equal(targets.boxes, truth.boxes)
