"""One thread, many pictures: batches, order, failures, cancelling, the end."""

import gc
import time
import weakref
from concurrent.futures import CancelledError

import numpy as np
import pytest
from serving_parts import Colours, until

from rcnn.errors import DataError
from rcnn.serving.batcher import Batcher
from rcnn.serving.limits import RefusedError
from rcnn.serving.metrics import Metrics


def picture(width=8, height=6):
    return np.zeros((height, width, 3), np.uint8)


@pytest.fixture
def detector():
    one = Colours()
    one.batches.append([])  # no picture of a service comes first
    return one


@pytest.fixture
def make(detector):
    """Makes a batcher that works, and ends it."""
    made = []

    def start(**options):
        made.append(Batcher(detector, Metrics(), **options))
        made[-1].start()
        return made[-1]

    yield start
    detector.go.set()
    for batcher in made:
        batcher.stop(5.0)


def held(batcher, detector, count, **sizes):
    """So many futures that wait behind a batch of one, which has begun."""
    detector.go.clear()
    first = batcher.submit(picture())
    assert detector.begun.wait(5)
    return first, [batcher.submit(picture(**sizes)) for _ in range(count)]


def test_what_waits_goes_through_together_and_no_more_than_a_batch(make, detector):
    batcher = make(batch=4, wait=0.0)
    first, others = held(batcher, detector, 6)
    detector.go.set()
    assert all(len(future.result(5)) == 3 for future in (first, *others))
    assert [len(batch) for batch in detector.batches[1:]] == [1, 4, 2]


def test_the_first_of_a_batch_waits_for_others_but_not_longer_than_told(make, detector):
    batcher = make(batch=3, wait=0.5)
    began = time.monotonic()
    batcher.submit(picture()).result(5)
    assert 0.5 <= time.monotonic() - began < 5
    futures = [batcher.submit(picture()) for _ in range(3)]  # full: no need to wait
    began = time.monotonic()
    assert all(future.result(5) for future in futures)
    assert time.monotonic() - began < 0.5
    assert [len(batch) for batch in detector.batches[1:]] == [1, 3]


def test_each_picture_gets_its_own_answer(make, detector):
    batcher = make(batch=8, wait=0.05)
    futures = [batcher.submit(picture(width=20 + n)) for n in range(8)]
    assert [float(future.result(5).boxes[0, 2]) for future in futures] == [20.0 + n for n in range(8)]


def test_a_picture_that_the_detector_refuses_harms_no_other(make, detector):
    batcher = make(batch=3, wait=0.05)
    good, bad, other = (batcher.submit(picture(width)) for width in (8, 13, 9))
    assert len(good.result(5)) == len(other.result(5)) == 3
    assert isinstance(bad.exception(5), DataError)
    assert len(detector.batches) == 2


def test_a_batch_that_fails_is_done_one_by_one(make, detector):
    batcher = make(batch=3, wait=0.05)
    good, bad, other = (batcher.submit(picture(width)) for width in (8, 7, 9))
    assert len(good.result(5)) == len(other.result(5)) == 3
    assert "out of memory" in str(bad.exception(5))
    assert [len(batch) for batch in detector.batches[1:]] == [3, 1, 1, 1]
    assert batcher.alive


def test_a_cancelled_picture_is_let_go_at_once_and_never_detected(make, detector):
    batcher = make(batch=4, wait=0.0)
    first, (dropped, kept) = held(batcher, detector, 2)
    assert dropped.cancel()
    assert len(batcher._jobs) == 1
    detector.go.set()
    assert first.result(5)
    assert kept.result(5)
    assert [len(batch) for batch in detector.batches[1:]] == [1, 1]


def test_a_picture_that_is_done_is_not_kept_in_memory(make, detector):
    batcher = make(batch=4, wait=0.0)
    gc.disable()  # counted references alone let it go
    try:
        one = picture()
        gone, future = weakref.ref(one), batcher.submit(one)
        del one
        assert future.result(5)
        until(lambda: gone() is None)
    finally:
        gc.enable()


def test_the_end_does_what_waits_and_takes_nothing_more(make, detector):
    batcher = make(batch=4, wait=5.0)
    futures = [batcher.submit(picture()) for _ in range(3)]
    assert batcher.stop(5.0)
    assert all(future.result(0) for future in futures)
    with pytest.raises(RefusedError, match="the server is ending"):
        batcher.submit(picture())


def test_at_the_end_what_is_not_done_in_time_is_cancelled(make, detector):
    batcher = make(batch=1, wait=0.0)
    first, (late,) = held(batcher, detector, 1)
    assert not batcher.stop(0.05)
    with pytest.raises(CancelledError):
        late.result(0)
    detector.go.set()
    assert first.result(5)


def test_a_thread_that_ends_before_its_time_leaves_why_and_takes_nothing(detector):
    batcher = Batcher(detector, Metrics())
    batcher.start(lambda: 1 / 0)
    until(lambda: not batcher.alive)
    assert isinstance(batcher.failure, ZeroDivisionError)
    with pytest.raises(RefusedError):
        batcher.submit(picture())


class Forgetful(Colours):
    """Answers fewer pictures than it was asked for: what is no error of a batch ends the thread."""

    def predict_each(self, pictures, batch=1, score=0.0):
        yield from list(super().predict_each(pictures, batch, score))[1:]


def test_a_thread_that_ends_before_its_time_leaves_nobody_waiting():
    detector = Forgetful()
    detector.batches.append([])
    batcher = Batcher(detector, Metrics(), batch=1, wait=0.0)
    batcher.start()
    at_hand, waiting = held(batcher, detector, 3)
    assert waiting[1].cancel()
    detector.go.set()
    for future in (at_hand, waiting[0], waiting[2]):
        error = future.exception(5)
        assert isinstance(error, RefusedError)
        assert error.status == 503
    assert isinstance(batcher.failure, ValueError)
    assert not batcher.stop(5.0)


def test_between_failure_and_the_end_of_the_thread_nothing_is_taken(detector):
    batcher, met = Batcher(detector, Metrics()), []

    def come_again(_):
        with pytest.raises(RefusedError) as refused:
            batcher.submit(picture())
        met.append(refused)

    def begin():
        batcher.submit(picture()).add_done_callback(come_again)
        raise ZeroDivisionError

    batcher.start(begin)
    until(lambda: not batcher.alive)
    assert len(met) == 1
