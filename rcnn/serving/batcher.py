"""One thread owns the detector; pictures that come within a few milliseconds go through it together."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from rcnn.errors import DataError, first_line
from rcnn.serving.limits import RefusedError
from rcnn.serving.metrics import Metrics
from rcnn.structures import Detections

log = logging.getLogger(__name__)
RGB = UInt8[np.ndarray, "_ _ 3"]


@runtime_checkable
class Predicts(Protocol):
    """What is served: an `rcnn.Detector`, or what answers like one."""

    class_names: tuple[str, ...]
    fills: bool

    @property
    def shown(self) -> Float[Tensor, "K"]:
        """The score from which each class is shown."""

    def predict_each(
        self, pictures: Sequence[RGB], batch: int = 1, score: float = 0.0
    ) -> Iterator[Detections | DataError]:
        """The detections of each picture, or its error."""


@dataclass(eq=False)
class _Job:
    picture: RGB
    future: "Future[Detections]" = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Gathers pictures into batches of at most `batch`; the first of one waits at most `wait` seconds for others.

    A future that is cancelled before its picture's turn drops the picture.
    """

    def __init__(self, detector: Predicts, metrics: Metrics, batch: int = 8, wait: float = 0.005) -> None:
        self.detector, self.metrics = detector, metrics
        self.batch, self.wait = batch, wait
        self.pace = 0.0
        """Seconds a picture, of late."""
        self.failure: Exception | None = None
        """What ended the work before its time."""
        self._jobs: deque[_Job] = deque()
        self._at_hand: list[_Job] = []
        self._changed = Condition()
        self._ending = False
        self._thread = Thread(target=self._work, name="rcnn-detector", daemon=True)

    def start(self, first: Callable[[], None] = lambda: None) -> None:
        """Begin to work; `first` is done before anything else, in the same thread."""
        self._first = first
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether there is a thread that works."""
        return self._thread.is_alive()

    def submit(self, picture: RGB) -> "Future[Detections]":
        """The detections of a picture, in time; an error that the detector raises is the future's own.

        Raises RefusedError where nobody works any more.
        """
        job = _Job(picture)
        with self._changed:
            if self._ending or self.failure is not None or not self.alive:
                raise RefusedError(503, "the server is ending", 1)
            self._jobs.append(job)
            self.metrics.waiting.set(len(self._jobs))
            self._changed.notify()
        job.future.add_done_callback(self._drop)  # which knows no picture, or the future would hold its own
        return job.future

    def stop(self, seconds: float) -> bool:
        """Take nothing more and do what is waiting; what is not done within so many seconds is cancelled.

        Returns whether all was done.
        """
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            left = list(self._jobs)
            self._jobs.clear()
        for job in left:
            job.future.cancel()
        return not left and not self.alive and self.failure is None

    def _drop(self, future: "Future[Detections]") -> None:
        if future.cancelled():
            with self._changed:
                self._jobs = deque(job for job in self._jobs if job.future is not future)
                self.metrics.waiting.set(len(self._jobs))

    def _work(self) -> None:
        try:
            self._first()
            while self._gather():
                if self._at_hand:
                    self._detect(self._at_hand)
                self._at_hand = []  # or their pictures would stay until others come
        except Exception as error:
            log.debug("where it came from:", exc_info=True)
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Tell all that wait that nobody works any more."""
        with self._changed:
            self.failure = error
            left, self._at_hand = [*self._at_hand, *self._jobs], []
            self._jobs.clear()
            self.metrics.waiting.set(0)
        for job in left:
            with suppress(InvalidStateError):  # answered already, or cancelled
                job.future.set_exception(RefusedError(503, "the detector's thread has ended; come back later", 1))

    def _gather(self) -> bool:
        """Take at hand the pictures that go through next, those that came first; whether there will be more."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._ending)
            if not self._jobs:
                return False
            left = self._jobs[0].since + self.wait - time.monotonic()
            self._changed.wait_for(lambda: len(self._jobs) >= self.batch or self._ending, max(0.0, left))
            jobs = [self._jobs.popleft() for _ in range(min(self.batch, len(self._jobs)))]
            self.metrics.waiting.set(len(self._jobs))
        self._at_hand = [job for job in jobs if job.future.set_running_or_notify_cancel()]
        return True

    def _detect(self, jobs: Sequence[_Job]) -> None:
        began = time.monotonic()
        answers = self._answers(jobs)
        seconds = time.monotonic() - began
        self.pace += (seconds / len(jobs) - self.pace) * (0.1 if self.pace else 1)
        self.metrics.detecting.observe(seconds)
        self.metrics.batches.observe(len(jobs))
        for job, answer in zip(jobs, answers, strict=True):
            if isinstance(answer, Exception):
                job.future.set_exception(answer)
            else:
                job.future.set_result(answer)

    def _answers(self, jobs: Sequence[_Job]) -> list[Detections | Exception]:
        """What is found in each; where the batch as a whole fails, as it may for want of memory, each alone."""
        try:
            return list(self.detector.predict_each([job.picture for job in jobs], batch=len(jobs)))
        except Exception as error:
            if len(jobs) > 1:
                return [answer for job in jobs for answer in self._answers([job])]
            log.warning("a picture of %d x %d failed: %s", *jobs[0].picture.shape[:2], first_line(error))
            log.debug("where it came from:", exc_info=True)
            return [error]
