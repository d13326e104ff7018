"""How milliseconds are measured: several times over, of which the least counts."""

import time
from collections.abc import Callable
from typing import TypeVar

REPEATS = 5
"""Whatever else the machine does only adds to a measurement: the least of several is nearest the truth."""
HOW = f"milliseconds are the least of {REPEATS} measurements on one core"

T = TypeVar("T")


def timed(step: Callable[[], T]) -> tuple[float, T]:
    """The seconds that a step takes, and what it gives."""
    began = time.perf_counter()
    result = step()
    return time.perf_counter() - began, result


def least_seconds(step: Callable[[], object]) -> float:
    """The seconds of a step's quickest run."""
    return min(timed(step)[0] for _ in range(REPEATS))
