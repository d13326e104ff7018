"""What the compiled CPU kernels share: compilation when one is first used, and threads."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any


@cache
def compiled(kernel: Callable[..., None]) -> Any:
    """The kernel as machine code, kept on disk. Numba takes a second to import: only those who use it wait for it."""
    from numba import njit

    return njit(nogil=True, cache=True)(kernel)


def cores() -> int:
    """The processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def together(work: Callable[[int], None], threads: int) -> None:
    """The parts of a work at once; the threads live as long as the call, so nothing is shared or left behind."""
    if threads == 1:
        return work(0)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
