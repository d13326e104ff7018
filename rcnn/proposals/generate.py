"""Selective search of many pictures: on several cores, and none that was searched before."""

import logging
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from threading import Thread

import numpy as np
from jaxtyping import Float

from rcnn.data import MAX_PIXELS, resolve
from rcnn.proposals.cache import entry_of, load_entry, store_entry
from rcnn.proposals.selective_search import Mode, every_region, opencv, rank_scores
from rcnn.sample import Picture

_log = logging.getLogger(__name__)

Found = tuple[Float[np.ndarray, "P 4"], Float[np.ndarray, "P"]]
"""Boxes in pixels of the picture, best first, and their scores."""


def generate(
    pictures: Sequence[Picture],
    mode: Mode = "fast",
    maximum: int = 2000,
    workers: int = 0,
    cache: Path | None = None,
    on_picture: Callable[[], object] = lambda: None,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Found]:
    """The best `maximum` proposals of each picture in turn, searched by `workers` processes (0: by this one).

    What is searched is kept in the folder `cache`, if one is given, by the content of pixels and settings: after an
    interruption only the rest is searched. `on_picture` is called after each. The workers are new Python processes:
    a script that asks for any must do so under `if __name__ == "__main__":`. Raises DataError at a picture that cannot
    be read, and ConfigError without OpenCV's contributed modules.
    """
    opencv()
    search = partial(find, mode=mode, cache=cache, max_pixels=max_pixels)
    workers = min(workers, len(pictures))
    for boxes in _by_processes(search, pictures, workers, max_pixels) if workers else map(search, pictures):
        yield boxes[:maximum], rank_scores(len(boxes[:maximum]))
        on_picture()


def find(picture: Picture, mode: Mode, cache: Path | None, max_pixels: int) -> Float[np.ndarray, "P 4"]:
    """All proposals of a picture, from the cache if they are there."""
    pixels = resolve(picture, max_pixels)
    if cache is None:
        return every_region(pixels, mode)
    entry = entry_of(cache, pixels, mode)
    boxes = load_entry(entry)
    if boxes is None:
        boxes = every_region(pixels, mode)
        store_entry(entry, boxes)
    return boxes


def _by_processes(
    search: Callable[[Picture], np.ndarray], pictures: Iterable[Picture], workers: int, max_pixels: int
) -> Iterator[np.ndarray]:
    """Results in the order of the pictures; few pictures wait at a time, so that a data set need not fit in memory.

    On any exception those being searched are finished, and thereby kept; the others are not begun.
    """
    fresh = multiprocessing.get_context("spawn")  # a fork would copy the locks of this process's threads
    waiting: deque[Future[np.ndarray]] = deque()
    with ProcessPoolExecutor(workers, fresh, _begin_worker) as pool:
        try:
            for picture in pictures:
                if len(waiting) == 2 * workers:
                    yield waiting.popleft().result()
                # A function that makes a picture may not travel; a file's name does, and is read over there.
                ready = picture if isinstance(picture, Path | str) else resolve(picture, max_pixels)
                waiting.append(pool.submit(search, ready))
            while waiting:
                yield waiting.popleft().result()
        except KeyboardInterrupt:
            _log.info("finishing the pictures in work ...")
            raise
        finally:
            for future in waiting:
                future.cancel()


def _begin_worker() -> None:
    """Leave Ctrl-C to the process that the user talks to, end if that one does, and use one core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    opencv().setNumThreads(1)


def _end_with_parent() -> None:
    """Without it a worker would wait forever for a process that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
