"""Whether a training that has ended went on for too long, and what would have stopped it."""

from collections.abc import Sequence
from itertools import pairwise

FLAT = 2
"""Epochs without a better one before validation is said to have turned; a fifth of all epochs where that is more."""


def enough_patience(scores: Sequence[float]) -> int | None:
    """The least patience that would have waited for the best of the epochs, by their scores, and not for less than two.

    None where validation did not turn: where fewer than two epochs, or than a fifth of all, followed the best one.
    """
    best = max(range(len(scores)), key=scores.__getitem__, default=0)  # the first of equals, as training keeps it
    if len(scores) - 1 - best < max(FLAT, len(scores) / 5):
        return None
    records = [epoch for epoch in range(best + 1) if scores[epoch] > max(scores[:epoch], default=float("-inf"))]
    return max([FLAT, *(after - before for before, after in pairwise(records))])
