"""How many threads compute while other processes prepare pictures."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rcnn.threads import cores

ASKED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables of the environment by which a user says how many threads there shall be."""
_log = logging.getLogger(__name__)


@contextmanager
def beside_workers(workers: int, device: torch.device) -> Iterator[None]:
    """While this context lasts, the processor's cores are shared: one for each worker, the others for the network.

    A worker computes with one thread, as torch's loader sees to. Nothing changes on a GPU, where fewer threads were
    set already, or where a variable of the environment says how many.
    """
    before, count = torch.get_num_threads(), max(1, cores() - workers)
    asked = any(os.environ.get(name) for name in ASKED)
    if not workers or device.type != "cpu" or asked or count >= before:
        yield
        return
    _log.info("the network computes with %d of %d threads, beside %d workers of one each", count, before, workers)
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
