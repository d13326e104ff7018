"""Work in threads, for what lets go of Python's lock: compiled kernels, and the decoding of pictures."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """The processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def together(work: Callable[[int], None], threads: int) -> None:
    """The parts of a work at once, a thread each."""
    each(work, range(threads), threads)


def each(work: Callable[[T], R], things: Sequence[T], threads: int) -> list[R]:
    """What a work makes of each thing, by at most so many threads; its error if one fails.

    The threads live as long as the call, so nothing is shared or left behind.
    """
    if min(threads, len(things)) < 2:
        return [work(thing) for thing in things]
    with ThreadPoolExecutor(min(threads, len(things))) as pool:
        return list(pool.map(work, things))
