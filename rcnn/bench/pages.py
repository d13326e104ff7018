"""Work done with the small pages that a process has by itself: large ones are something this library asks for."""

import ctypes
import sys
from collections.abc import Callable

_SET_THP_DISABLE = 41  # Linux's name for prctl: PR_SET_THP_DISABLE


def with_small_pages(work: Callable[[], object]) -> Callable[[], object]:
    """The same work; no memory that it is first to touch comes in large pages. Other systems than Linux have none."""

    def run() -> object:
        _disable_large_pages(1)
        try:
            return work()
        finally:
            _disable_large_pages(0)

    return run


def _disable_large_pages(value: int) -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_SET_THP_DISABLE, value, 0, 0, 0)
