"""On a processor the cores share a batch's pictures out instead of every layer: none waits for others."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import torch
from jaxtyping import Float
from torch import Tensor

from rcnn.errors import DataError
from rcnn.inference.predictor import Detector
from rcnn.serving.batcher import RGB, Predicts
from rcnn.structures import Detections

PIECE = 2
"""Pictures that a thread takes at a time: what is computed stays near its core, and a thread held up takes fewer."""


class Spread:
    """A detector that looks at several pictures side by side: all pieces of a batch together have all `threads`."""

    def __init__(self, detector: Predicts, threads: int) -> None:
        self.detector, self.threads = detector, threads
        self.class_names, self.fills = detector.class_names, detector.fills
        self._pool = ThreadPoolExecutor(threads, "rcnn-share")

    @property
    def shown(self) -> Float[Tensor, "K"]:
        """The score from which each class is shown."""
        return self.detector.shown

    def predict_each(
        self, pictures: Sequence[RGB], batch: int = 1, score: float = 0.0
    ) -> Iterator[Detections | DataError]:
        """The detections of each picture, or its error."""
        if len(pictures) < 2:
            yield from self.detector.predict_each(pictures, batch, score)
            return
        size = min(batch, PIECE, -(-len(pictures) // self.threads))
        pieces = [pictures[first : first + size] for first in range(0, len(pictures), size)]
        try:
            each = max(1, self.threads // len(pieces))
            found = list(self._pool.map(lambda piece: self._alone(piece, score, each), pieces))
        finally:
            torch.set_num_threads(self.threads)  # of this thread, and of those that are still to come
        yield from chain.from_iterable(found)

    def _alone(self, pictures: Sequence[RGB], score: float, threads: int) -> list[Detections | DataError]:
        torch.set_num_threads(threads)  # of the thread that this runs in
        return list(self.detector.predict_each(pictures, len(pictures), score))


def spread(detector: Detector) -> Predicts:
    """The detector, its work spread over the processor's cores if it computes there; compiled ones stay as they are."""
    threads = torch.get_num_threads()
    alone = threads == 1 or detector.device.type != "cpu" or detector.compiled
    return detector if alone else Spread(detector, threads)
