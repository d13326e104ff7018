"""From pictures' files to detections: decoded by a few threads, detected in batches by one, within the time limit."""

import asyncio
import math
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from rcnn.data.picture import Encoded
from rcnn.errors import DataError
from rcnn.serving.batcher import RGB, Batcher, Predicts
from rcnn.serving.decoders import Decoders
from rcnn.serving.limits import Ledger, Limits, RefusedError, Share
from rcnn.serving.metrics import Metrics
from rcnn.structures import Detections

SHAPES = ((480, 640), (640, 480), (480, 480), (480, 800), (800, 480))
"""Heights and widths of pictures that between them lie on all five canvases that pictures share."""
State = Literal["starting", "ok", "stopping", "broken"]


@dataclass(frozen=True)
class Found:
    """A picture's name and size (height, width), and what was found in it."""

    name: str
    size: tuple[int, int]
    detections: Detections


class Service:
    """A detector that many requests share.

    `name` is what the model is called. The first pictures, gray ones, are the service's own: what is made at first use,
    or compiled for each canvas and number of pictures, is there before it is `ok`.
    """

    def __init__(
        self,
        detector: Predicts,
        name: str,
        limits: Limits,
        batch: int = 8,
        wait: float = 0.005,
        score: float | None = None,
    ) -> None:
        self.name, self.limits = name, limits
        self.class_names = detector.class_names
        self.least = detector.shown if score is None else torch.full((len(detector.class_names),), score)
        """The score from which each class is answered, unless a request says otherwise."""
        self.metrics = Metrics()
        self.batcher = Batcher(detector, self.metrics, batch, wait)
        self.ledger = Ledger(limits)
        self._decoders = Decoders(limits)
        self._warm = False
        self._stopping = False
        self.until = math.inf
        self.finished = False

    @property
    def state(self) -> State:
        """Whether it is ready, or why not."""
        if self._stopping:
            return "stopping"
        if not self.batcher.alive:
            return "broken"
        return "ok" if self._warm else "starting"

    @property
    def idle(self) -> bool:
        """Whether no request is in work."""
        return self.ledger.empty

    def start(self) -> None:
        """Begin to work; what comes before the first picture is done waits."""
        self.batcher.start(self._warm_up)

    def refuse(self) -> None:
        """Take nothing new any more, but go on with what is in work: that has until `self.until`."""
        if not self._stopping:
            self._stopping = True
            self.until = time.monotonic() + self.limits.stop_seconds

    async def stop(self) -> None:
        """Finish what is in work, as long as there is time; `self.finished` says whether it was."""
        self.refuse()
        while not self.idle and time.monotonic() < self.until:
            await asyncio.sleep(0.01)
        self.finished = await asyncio.to_thread(self.batcher.stop, max(0.1, self.until - time.monotonic()))
        self._decoders.stop()

    def refuse_if_not_taking(self) -> None:
        """Raise RefusedError where a new request would be in vain."""
        if self._stopping or not self.batcher.alive:
            raise RefusedError(503, f"the server is {self.state}", 1)
        self.ledger.pace = self.batcher.pace
        self.ledger.refuse_full()

    async def detect(self, pictures: Sequence[Encoded], share: Share) -> list[Found]:
        """What is found in each picture; raises RefusedError for the first that is none, or when time is up.

        What has not begun by then is not done; what has begun stays in the share until it is done.
        """
        try:
            async with asyncio.timeout(self.limits.seconds), asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._one(picture, share)) for picture in pictures]
        except TimeoutError:
            raise RefusedError(504, f"no answer within {self.limits.seconds:g} seconds; come back later") from None
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        self.metrics.pictures.inc(len(pictures))
        return [task.result() for task in tasks]

    async def _one(self, encoded: Encoded, share: Share) -> Found:
        try:
            picture = await asyncio.wrap_future(self._decoders.submit(encoded, share))
            found = await asyncio.wrap_future(self._submit(picture, share))
        except DataError as error:
            raise RefusedError(422, f"{encoded}: {error}") from None
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise RefusedError(503, "the server ended before the picture's turn", 1) from None
        return Found(encoded.name, picture.shape[:2], found)

    def _submit(self, picture: RGB, share: Share) -> "Future[Detections]":
        """What is found in a picture, in time; it stays in the share until the future is done or cancelled."""
        size = picture.nbytes
        share.take(kept=size)
        try:
            future = self.batcher.submit(picture)
        except RefusedError:
            share.let_go(size)
            raise
        future.add_done_callback(lambda _: share.let_go(size))
        return future

    def _warm_up(self) -> None:
        detector = self.batcher.detector
        most = self.batcher.batch if detector.fills else 1
        # Every power of two that a batch is filled up to: the last is not below the largest batch.
        counts = [min(2**n, most) for n in range((most - 1).bit_length() + 1)]
        for size in SHAPES if detector.fills else SHAPES[:1]:
            for count in counts:
                list(detector.predict_each([np.full((*size, 3), 114, np.uint8)] * count, batch=count))
        self._warm = True
