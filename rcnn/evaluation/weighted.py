"""Average precision where pictures count several times, or not at all: for many such choices at once."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float64, Int64

from rcnn.compiled import compiled
from rcnn.evaluation.matches import ClassMatches, Matches

Weights = Int64[np.ndarray, "R P"]
POINTS = {"coco": np.linspace(0, 1, 101), "voc07": np.arange(11) / 10, "voc": np.zeros(0)}
"""Recall at which precision is averaged; none: the area under its envelope. COCO's are not n / 100 to the last bit."""


def weighted_average_precision(matches: Matches, weights: Weights) -> Float64[np.ndarray, "R K T"]:
    """The AP of each class at each IoU threshold, for each row of `weights`: how often each picture counts.

    A picture of weight 2 counts as if the data held it twice. NaN where no object of a class counts.
    """
    points = POINTS[matches.protocol]
    table = np.empty((len(weights), len(matches.classes), len(matches.ious)))
    for place, of in enumerate(matches.classes):
        table[:, place] = _class_averages(of, weights, points)
    return table


def _class_averages(of: ClassMatches, weights: Weights, points: Float64[np.ndarray, "Q"]) -> Float64[np.ndarray, "R T"]:
    totals = weights @ of.countable
    result = np.empty((len(weights), of.hits.shape[1]))
    kind = np.where(of.counts, np.where(of.hits, 1, 0), -1).astype(np.int8)
    compiled(_average)(of.pictures, np.ascontiguousarray(kind.T), np.ascontiguousarray(weights), totals, points, result)
    return result


@no_type_check  # shape checks at run time wrap every annotated function, and Numba compiles no wrapper
def _average(
    pictures: np.ndarray,  # [N] int64, of detections, best first
    kind: np.ndarray,  # [T, N] int8: 1 a hit, 0 false, -1 does not count
    weights: np.ndarray,  # [R, P] int64
    totals: np.ndarray,  # [R] int64, objects to be found
    points: np.ndarray,  # [Q] float64, rising
    result: np.ndarray,  # [R, T] float64, written
) -> None:
    found = np.empty(len(pictures), np.int64)
    precision = np.empty(len(pictures) + 1, np.float64)
    for r in range(len(weights)):
        for t in range(len(kind)):
            if totals[r] == 0:
                result[r, t] = np.nan
                continue
            hits, seen, length, reached, total = 0, 0, 0, 0, 0.0
            for n in range(len(pictures)):
                weight = weights[r, pictures[n]]
                if weight == 0 or kind[t, n] < 0:
                    continue
                seen += weight
                if kind[t, n] == 1:
                    hits += weight
                    # Where recall does not rise, precision only falls: hits alone can be on the envelope.
                    found[length] = hits
                    precision[length] = hits / seen
                    length += 1
            precision[length] = 0.0
            for n in range(length - 2, -1, -1):
                precision[n] = max(precision[n], precision[n + 1])
            if len(points) == 0:
                for n in range(length):
                    total += (found[n] - (found[n - 1] if n else 0)) * precision[n]
                result[r, t] = total / totals[r]
                continue
            for wanted in points:
                while reached < length and found[reached] / totals[r] < wanted:
                    reached += 1
                total += precision[reached]
            result[r, t] = total / len(points)
