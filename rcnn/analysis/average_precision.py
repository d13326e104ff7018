"""Precision by recall, and COCO's average of it at 101 points."""

import numpy as np
from jaxtyping import Bool, Float64, Int64

RECALL_POINTS = np.linspace(0.0, 1.0, 101)


def interpolated(right: Bool[np.ndarray, "N"], objects: int) -> Float64[np.ndarray, "101"]:
    """The highest precision at recall 0, 0.01 ... 1 or beyond, of detections best first; 0 where it is not reached.

    With no object left to find, precision is 1 at every point if nothing false is left, else 0: the limit that keeps
    each repair of an error from lowering AP.
    """
    if objects == 0:
        return np.full(len(RECALL_POINTS), 0.0 if len(right) else 1.0)
    hits = np.cumsum(right)
    precision = np.append(np.maximum.accumulate((hits / np.arange(1, len(right) + 1))[::-1])[::-1], 0.0)
    return precision[np.searchsorted(hits / objects, RECALL_POINTS, side="left")]


def average_precision(right: Bool[np.ndarray, "N"], objects: int) -> float:
    """The mean of `interpolated`."""
    return float(interpolated(right, objects).mean())


def by_score(scores: Float64[np.ndarray, "N"]) -> Int64[np.ndarray, "N"]:
    """The order from the best down; equal scores in the order given."""
    return np.argsort(-scores, kind="stable")
