"""How the system hands out memory, which for large tensors costs more than it should."""

import ctypes
import os
import sys

LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""The variable that torch reads when the first tensor of a process is made."""
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # glibc's names for mallopt: M_TRIM_THRESHOLD, M_MMAP_MAX


def ask_for_large_pages() -> None:
    """Have torch ask Linux for pages of 2 MiB for large tensors, unless the environment says otherwise.

    A forward pass asks for hundreds of thousands of pages of 4 KiB, each of them a fault: a fifth of its time. Torch
    is told by a variable of the environment, which child processes inherit. Nothing happens where a tensor has been
    made before, or where the kernel has no such pages to give; a large tensor takes up to 2 MiB more.
    """
    os.environ.setdefault(LARGE_PAGES, "1")


def keep_freed_memory() -> None:
    """Ask glibc to keep what it is given back, so that the kernel need not zero the same pages again at every step.

    A training step frees and asks for gigabytes: a tenth of its time goes into page faults otherwise. Elsewhere than
    on Linux with glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
