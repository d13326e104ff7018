"""Which parts of a detector do not bear 8 bits: found by trying, whatever the engine, and kept in floating point."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rcnn.errors import DataError

BOUND = 0.5
"""Points of AP that may be lost unless told otherwise."""
Quantised = TypeVar("Quantised")


@dataclass(frozen=True)
class Kept(Generic[Quantised]):
    """A detector in 8 bits but for some parts, and how that was arrived at; scores are in points, more is better."""

    model: Quantised
    full: float
    """The score of the detector in floating point."""
    score: float
    """Its score now."""
    kept: tuple[str, ...]
    """The parts that stay in floating point, in the order in which they were kept: dearest first."""
    costs: Mapping[str, float]
    """Points that each part costs when it alone is in 8 bits, dearest first; empty where nothing had to be kept."""

    @property
    def lost(self) -> float:
        """Points that are lost after all."""
        return self.full - self.score


def keep_sensitive(
    parts: Sequence[str],
    quantise: Callable[[Collection[str]], Quantised],
    score: Callable[[Quantised], float],
    full: float,
    bound: float = BOUND,
) -> Kept[Quantised]:
    """Put into 8 bits as many parts as cost no more than `bound` points together.

    `quantise(kept)` gives the detector with all `parts` but `kept` in 8 bits; `score` says how good it is, in points,
    and `full` how good the detector is in floating point. First all parts are in 8 bits. If that costs too much, each
    part is tried alone (so that one that ruins everything hides no other), and then they are kept from the dearest on
    until the bound is met or none is left; of equally dear ones the first in `parts` comes first. Without chance:
    2 n + 1 models at most are scored for n parts. Raises DataError for a score that is no number.
    """
    judged = _Judge(score)
    model = quantise(())
    reached = judged(model)
    if full - reached <= bound:
        return Kept(model, full, reached, (), {})
    alone = {part: full - judged(quantise([other for other in parts if other != part])) for part in parts}
    costs = dict(sorted(alone.items(), key=lambda item: -item[1]))  # stable: equal ones stay in their order
    kept: list[str] = []
    for part in costs:
        kept.append(part)
        model = quantise(tuple(kept))
        reached = judged(model)
        if full - reached <= bound:
            break
    return Kept(model, full, reached, tuple(kept), costs)


@dataclass(frozen=True)
class _Judge(Generic[Quantised]):
    score: Callable[[Quantised], float]

    def __call__(self, model: Quantised) -> float:
        points = self.score(model)
        if math.isnan(points):
            raise DataError("the pictures to evaluate on hold no object to find; pass --eval with others")
        return points
