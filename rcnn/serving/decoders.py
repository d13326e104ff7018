"""Threads that decode, and what each of them holds meanwhile."""

from concurrent.futures import Future, ThreadPoolExecutor

from rcnn.data.picture import Encoded
from rcnn.serving.batcher import RGB
from rcnn.serving.limits import Limits, Share
from rcnn.serving.uploads import decode

THREADS = 2
"""Enough to keep one detector busy."""


class Decoders:
    """Make pictures of files, a few at a time, in the order in which they came."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pool = ThreadPoolExecutor(THREADS, "rcnn-decoder")

    def submit(self, encoded: Encoded, share: Share) -> "Future[RGB]":
        """The picture, in time; its file and its pixels stay in the share until the future is done or cancelled."""
        work = _Decoding(encoded, self._limits, share)
        try:
            future = self._pool.submit(work)
        except RuntimeError:  # the threads have ended
            work.over()
            raise
        future.add_done_callback(lambda _: work.over())
        return future

    def stop(self) -> None:
        """Begin with nothing more, and wait for nobody."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Decoding:
    """A file that waits for a thread; once it is over it holds no file, though the pool's queue may still hold it."""

    def __init__(self, encoded: Encoded, limits: Limits, share: Share) -> None:
        self._encoded: Encoded | None = encoded
        self._limits, self._share = limits, share
        self._kept = len(encoded.content)
        share.take(kept=self._kept)

    def __call__(self) -> RGB:
        assert self._encoded is not None  # what is cancelled never begins, and nothing begins twice
        return decode(self._encoded, self._limits, self._take)

    def over(self) -> None:
        self._encoded = None
        self._share.let_go(self._kept)

    def _take(self, pictures: int = 0, size: int = 0) -> None:
        self._share.take(pictures, size, kept=size)
        self._kept += size
