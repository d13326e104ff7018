"""How far AP could be off because the pictures are few: 95 % intervals over pictures, and a paired test of two runs.

Pictures, not objects, are what was drawn by chance, so pictures are resampled (Efron and Tibshirani, "An introduction
to the bootstrap"). AP of few pictures is too high on average: the envelope of precision takes the best of what chance
offers. A resample holds 1 - 1/e of the pictures, so its own bias exceeds AP's by the factor 1 / (1 - 1/e): what the
bootstrap shows, times e - 1, is the bias of AP. The interval is Student's t around AP less this bias, with the
jackknife's deviation, widened by the bootstrap's bias, for that is estimated too. Percentiles of the bootstrap
alone, and their correction (BCa), miss the truth too often: `benchmarks/interval_coverage.py` measures it.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from rcnn.errors import DataError
from rcnn.evaluation.matches import Matches
from rcnn.evaluation.result import plain
from rcnn.evaluation.weighted import Weights, weighted_average_precision

LEVEL = 0.95
RESAMPLES = 1000
GROUPS = 400
"""The jackknife leaves out one picture at a time, or one of so many groups of pictures where there are more."""

Measure = Callable[[Weights], Float64[np.ndarray, "R M"]]
"""Numbers for each row of weights of the pictures."""


@dataclass(frozen=True)
class Interval:
    """A number and the 95 % interval around it; NaN where the pictures are too few to tell."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """Plain values; None where there is no telling."""
        return {name: plain(getattr(self, name)) for name in ("value", "low", "high")}


@dataclass(frozen=True)
class Paired:
    """Two runs on the same pictures."""

    first: float
    second: float
    difference: Interval
    """The second less the first."""
    p: float
    """How probable so large a difference were by the choice of pictures alone, did the two not differ."""
    better: float
    """The share of resamples in which the second is better."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        numbers = {name: plain(getattr(self, name)) for name in ("first", "second", "p", "better")}
        return numbers | {"difference": self.difference.to_json()}


def intervals(matches: Matches, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Interval]:
    """The intervals of a protocol's means, and of each class's AP under `class: NAME`."""
    spread = _spread(lambda weights: _numbers(matches, weights), matches.pictures, resamples, seed)
    low, high = (np.clip(end, 0, 1) for end in spread.ends())
    rows = zip(_names(matches), spread.value, low, high, strict=True)
    return {name: Interval(*map(float, row)) for name, *row in rows}


def paired(first: Matches, second: Matches, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Paired]:
    """The second less the first, by the same numbers: both are resampled by the same pictures.

    Raises DataError where the two are not of the same pictures, classes and protocol.
    """
    alike = first.protocol == second.protocol and first.class_names == second.class_names
    if not alike or first.pictures != second.pictures:
        raise DataError("the two runs were not measured on the same pictures, classes and protocol; measure both anew")

    def difference(weights: Weights) -> Float64[np.ndarray, "R M"]:
        return _numbers(second, weights) - _numbers(first, weights)

    ones = np.ones((1, first.pictures), np.int64)
    apart = (_numbers(first, ones)[0], _numbers(second, ones)[0])
    spread = _spread(difference, first.pictures, resamples, seed)
    columns = (*apart, spread.value, *spread.ends(), spread.p(), spread.positive)
    rows = [tuple(map(float, row)) for row in zip(*columns, strict=True)]
    return {
        name: Paired(one, other, Interval(*ends), p, better)
        for name, (one, other, *ends, p, better) in zip(_names(first), rows, strict=True)
    }


@dataclass(frozen=True)
class _Spread:
    """How numbers vary with the choice of pictures."""

    value: Float64[np.ndarray, "M"]
    bias: Float64[np.ndarray, "M"]
    """Of the resamples against the values."""
    deviation: Float64[np.ndarray, "M"]
    positive: Float64[np.ndarray, "M"]
    """The share of resamples in which a number is above 0; half of those in which it is 0."""
    freedom: int

    def ends(self) -> tuple[Float64[np.ndarray, "M"], Float64[np.ndarray, "M"]]:
        """The ends of the interval."""
        from scipy.special import stdtrit

        reach = stdtrit(self.freedom, 0.5 + LEVEL / 2) * self.deviation if self.freedom else np.nan * self.deviation
        return self.centre - reach, self.centre + reach

    @property
    def centre(self) -> Float64[np.ndarray, "M"]:
        """The values without their bias."""
        return self.value - (math.e - 1) * self.bias

    def p(self) -> Float64[np.ndarray, "M"]:
        """The two-sided p of a value that should be 0; 1 where nothing varies because nothing differs."""
        from scipy.special import stdtr

        distance, same = np.abs(self.centre), (self.value == 0) & (self.deviation == 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(same, 1.0, 2 * stdtr(max(self.freedom, 1), -distance / self.deviation))


def _spread(measure: Measure, pictures: int, resamples: int, seed: int) -> _Spread:
    """The bootstrap's bias, and the jackknife's deviation widened by it."""
    rng = np.random.default_rng(seed)
    value = measure(np.ones((1, pictures), np.int64))[0]
    drawn = measure(rng.multinomial(pictures, np.full(pictures, 1 / pictures), resamples).astype(np.int64))
    left_out = measure(_all_but_one(pictures, rng))
    groups = len(left_out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of means of nothing: a class without objects
        bias = np.nanmean(drawn, axis=0) - value
        apart = left_out - np.nanmean(left_out, axis=0)
    variance = (groups - 1) / groups * np.nansum(apart**2, axis=0)
    # Where all objects of a class lie in one picture, nothing is known of how it varies.
    unknown = np.isnan(value) | np.isnan(left_out).any(axis=0) | (groups < 2)
    deviation = np.where(unknown, np.nan, np.sqrt(variance + bias**2))
    positive = ((drawn > 0) + 0.5 * (drawn == 0)).mean(axis=0)
    return _Spread(value, bias, deviation, positive, groups - 1)


def _all_but_one(pictures: int, rng: np.random.Generator) -> Weights:
    """Rows of weights that leave out a picture each, or a group of them."""
    groups = min(pictures, GROUPS)
    of = rng.permutation(pictures) % groups
    return (of != np.arange(groups)[:, None]).astype(np.int64)


def _names(matches: Matches) -> tuple[str, ...]:
    means = ("AP", "AP50", "AP75") if matches.protocol == "coco" else ("mAP",)
    return (*means, *(f"class: {name}" for name in matches.class_names))


def _numbers(matches: Matches, weights: Weights) -> Float64[np.ndarray, "R M"]:
    """The protocol's means over classes, then each class's AP, for each row of weights."""
    table = weighted_average_precision(matches, weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        per_class = table.mean(axis=2)
        parts = [per_class, table[..., 0], table[..., 5]] if matches.protocol == "coco" else [per_class]
        means = [np.nanmean(part, axis=1) if part.shape[1] else np.full(len(part), np.nan) for part in parts]
    return np.column_stack([*means, per_class])
