"""Work done with the small pages that a process has by itself: large ones are something this library asks for."""

import ctypes
import logging
import sys
from collections.abc import Callable

_SET_THP_DISABLE, _GET_THP_DISABLE = 41, 42  # Linux's names for prctl: PR_SET_THP_DISABLE, PR_GET_THP_DISABLE
_log = logging.getLogger(__name__)


def with_small_pages(work: Callable[[], object]) -> Callable[[], object]:
    """The same work; no memory that it is first to touch comes in large pages. Other systems than Linux have none."""
    if not sys.platform.startswith("linux"):
        return work
    prctl = ctypes.CDLL(None).prctl

    def run() -> object:
        before = prctl(_GET_THP_DISABLE, 0, 0, 0, 0)
        if prctl(_SET_THP_DISABLE, 1, 0, 0, 0):
            _log.warning("the system does not let large pages be switched off: all ways have them, if it has any")
        try:
            return work()
        finally:
            prctl(_SET_THP_DISABLE, max(0, before), 0, 0, 0)

    return run
