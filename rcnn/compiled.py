"""What the processor's kernels share: compilation when one is first used, and threads."""

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_log = logging.getLogger(__name__)


@cache
def compiled(kernel: Callable[..., None]) -> Any:
    """The kernel as machine code, kept on disk. Numba takes a second to import: only those who use it wait for it."""
    from numba import njit

    try:
        return njit(nogil=True, cache=True)(kernel)
    except RuntimeError as error:  # no folder of Numba's may be written to, as in a container that only reads
        _log.info("compiled anew in each process, for it cannot be kept: %s (NUMBA_CACHE_DIR names a folder)", error)
        return njit(nogil=True)(kernel)


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
