"""A batch over several threads: the same answers, in order."""

import numpy as np
import pytest
import torch
from conftest import shape_sample
from serving_parts import Colours

from rcnn import api
from rcnn.errors import DataError
from rcnn.serving.spread import Spread, spread


@pytest.mark.parametrize(("count", "pieces"), [(1, 1), (2, 2), (3, 3), (5, 3), (8, 4)])
def test_each_picture_has_its_own_answer_whatever_thread_gives_it(count, pieces):
    detector = Colours()
    detector.batches.append([])
    pictures = [np.zeros((6, 20 + n, 3), np.uint8) for n in range(count)]
    found = list(Spread(detector, 3).predict_each(pictures, batch=count))
    assert [float(one.boxes[0, 2]) for one in found] == [20.0 + n for n in range(count)]
    assert len(detector.batches) - 1 == pieces


def test_an_error_stays_in_its_place_and_a_failure_is_raised():
    detector = Colours()
    detector.batches.append([])
    pictures = [np.zeros((6, width, 3), np.uint8) for width in (8, 9, 13, 10)]
    found = list(Spread(detector, 2).predict_each(pictures, batch=4))
    assert [isinstance(one, DataError) for one in found] == [False, False, True, False]
    with pytest.raises(RuntimeError, match="out of memory"):
        list(Spread(detector, 2).predict_each([*pictures, np.zeros((6, 7, 3), np.uint8)], batch=5))


def test_a_network_finds_the_same_in_several_threads_and_keeps_its_own(run):
    detector, before = api.load(run, "cpu"), torch.get_num_threads()
    pictures = [shape_sample(f"p{n}", size).picture for n, size in enumerate([(64, 80), (80, 64), (64, 80), (40, 90)])]
    alone = [next(detector.predict(picture)) for picture in pictures]
    torch.set_num_threads(2)
    try:
        spreading = spread(detector)
        assert isinstance(spreading, Spread)
        together = list(spreading.predict_each(pictures, batch=4))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    for one, other in zip(alone, together, strict=True):
        assert len(one) > 0
        assert one.names == other.names
        assert torch.allclose(one.boxes, other.boxes, atol=1e-3)


class Counting(Colours):
    """Keeps the number of threads that each piece of a batch has."""

    def __init__(self):
        super().__init__()
        self.batches.append([])
        self.threads = []

    def predict_each(self, pictures, batch=1, score=0.0):
        self.threads.append(torch.get_num_threads())
        yield from super().predict_each(pictures, batch, score)


@pytest.mark.parametrize(("count", "told"), [(1, [16]), (2, [8, 8]), (3, [5, 5, 5]), (16, [1] * 16), (20, [1] * 10)])
def test_pieces_of_a_batch_have_all_threads_between_them(count, told):
    detector, before = Counting(), torch.get_num_threads()
    torch.set_num_threads(16)
    try:
        pictures = [np.zeros((6, 20 + n, 3), np.uint8) for n in range(count)]
        list(Spread(detector, 16).predict_each(pictures, batch=count))
        assert detector.threads == told
        assert torch.get_num_threads() == 16
    finally:
        torch.set_num_threads(before)


def test_one_core_needs_no_threads(run):
    detector = api.load(run, "cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert spread(detector) is detector
    finally:
        torch.set_num_threads(before)
