"""How the processor's kernels are compiled, when one is first used."""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

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
