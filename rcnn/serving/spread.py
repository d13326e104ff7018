"""On a processor each core takes some of a batch's pictures instead of a part of every layer: none waits for others."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from jaxtyping import Float
from torch import Tensor

from rcnn.errors import DataError
from rcnn.inference.predictor import Detector
from rcnn.serving.batcher import RGB, Predicts
from rcnn.structures import Detections


class Spread:
    """A detector that looks at several pictures with a thread each, and at a single one with all `threads`."""

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
        shares = [share for first in range(self.threads) if (share := pictures[first :: self.threads])]
        try:
            found = list(self._pool.map(lambda share: self._share(share, batch, score), shares))
        finally:
            torch.set_num_threads(self.threads)  # of this thread, and of those that are still to come
        for place in range(len(pictures)):
            yield found[place % self.threads][place // self.threads]

    def _share(self, pictures: Sequence[RGB], batch: int, score: float) -> list[Detections | DataError]:
        torch.set_num_threads(1)  # of the thread that this runs in
        return list(self.detector.predict_each(pictures, batch, score))


def spread(detector: Detector) -> Predicts:
    """The detector, its work spread over the processor's cores if it computes there; compiled ones stay as they are."""
    threads = torch.get_num_threads()
    alone = threads == 1 or detector.device.type != "cpu" or detector.compiled
    return detector if alone else Spread(detector, threads)
