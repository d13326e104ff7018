"""How many of the true boxes proposals cover (Hosang et al., "What makes for effective detection proposals?").

A true box is covered at an IoU if any of the proposals reaches it; one proposal may cover several. Difficult and crowd
boxes are left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64

from rcnn import boxes as box_ops
from rcnn.errors import DataError
from rcnn.evaluation.result import plain
from rcnn.sample import Sample

THRESHOLDS = tuple(round(0.5 + 0.025 * step, 3) for step in range(21))  # 0.5 ... 1.0
NUMBERS = (1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000, 1500, 2000)
SHOWN_THRESHOLDS = (0.5, 0.7)
SHOWN_NUMBERS = (100, 300, 1000, 2000)
Boxes = Float[np.ndarray, "_ 4"]


@dataclass(frozen=True)
class ProposalRecall:
    """Recall at each number of proposals a picture and at each IoU, and average recall at each number."""

    pictures: int
    objects: int
    mean_proposals: float
    numbers: tuple[int, ...]
    thresholds: tuple[float, ...]
    table: Float64[np.ndarray, "N T"]
    average: Float64[np.ndarray, "N"]

    def at(self, number: int, threshold: float) -> float:
        """Recall with the best `number` proposals at an IoU of `threshold`; both among those measured."""
        return float(self.table[self.numbers.index(number), self.thresholds.index(threshold)])

    def average_at(self, number: int) -> float:
        """Average recall with the best `number` proposals."""
        return float(self.average[self.numbers.index(number)])

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file; NaN, where there is no truth, becomes None."""
        rows = zip(self.numbers, self.table.tolist(), self.average.tolist(), strict=True)
        by_number = [
            {"proposals": number, "recall": [plain(value) for value in row], "average_recall": plain(average)}
            for number, row, average in rows
        ]
        head = {"pictures": self.pictures, "objects": self.objects, "mean_proposals": self.mean_proposals}
        return head | {"iou": list(self.thresholds), "by_number": by_number}


def measure_recall(samples: Sequence[Sample], proposals: Sequence[Boxes]) -> ProposalRecall:
    """The recall of each picture's proposals, best first, in the picture's own pixels.

    Raises DataError where there is not one array of proposals for each sample.
    """
    if len(samples) != len(proposals):
        raise DataError(f"{len(samples)} samples but proposals of {len(proposals)}; give one array for each picture")
    truth = [sample.boxes[~(np.asarray(sample.difficult) | np.asarray(sample.crowd))] for sample in samples]
    best = best_overlaps(truth, proposals, NUMBERS)
    return ProposalRecall(
        pictures=len(samples),
        objects=best.shape[1],
        mean_proposals=sum(map(len, proposals)) / max(1, len(proposals)),
        numbers=NUMBERS,
        thresholds=THRESHOLDS,
        table=_share(best, THRESHOLDS),
        average=average_recall(best),
    )


def recall(
    truth: Sequence[Boxes], proposals: Sequence[Boxes], thresholds: Sequence[float], numbers: Sequence[int]
) -> Float64[np.ndarray, "N T"]:
    """The share of true boxes that the best n proposals of their picture cover, for each n and IoU threshold.

    NaN where there is no true box at all. An IoU of exactly the threshold covers.
    """
    return _share(best_overlaps(truth, proposals, numbers), thresholds)


def best_overlaps(
    truth: Sequence[Boxes], proposals: Sequence[Boxes], numbers: Sequence[int]
) -> Float64[np.ndarray, "N G"]:
    """The highest IoU of each true box, over all pictures, with the best n proposals of its picture, for each n."""
    pairs = zip(truth, proposals, strict=True)
    return np.concatenate([np.zeros((len(numbers), 0)), *(_best_in(*pair, numbers) for pair in pairs)], axis=1)


def average_recall(best: Float64[np.ndarray, "N G"]) -> Float64[np.ndarray, "N"]:
    """Twice the area under recall over IoU from 0.5 to 1: exactly the mean of 2 max(IoU - 0.5, 0) (Hosang)."""
    return _mean(2 * np.maximum(best - 0.5, 0))


def _best_in(truth: Boxes, proposals: Boxes, numbers: Sequence[int]) -> Float64[np.ndarray, "N G"]:
    iou = box_ops.iou(*(torch.from_numpy(np.asarray(boxes, np.float64)) for boxes in (proposals, truth))).numpy()
    running = np.maximum.accumulate(np.concatenate((np.zeros((1, len(truth))), iou)), axis=0)
    return running[np.minimum(numbers, len(proposals))]


def _share(best: Float64[np.ndarray, "N G"], thresholds: Sequence[float]) -> Float64[np.ndarray, "N T"]:
    ordered = np.sort(best, axis=1)
    missed = np.stack([np.searchsorted(row, thresholds) for row in ordered])
    return 1 - missed / best.shape[1] if best.shape[1] else np.full(missed.shape, math.nan)


def _mean(values: Float64[np.ndarray, "N G"]) -> Float64[np.ndarray, "N"]:
    return values.mean(axis=1) if values.shape[1] else np.full(len(values), math.nan)
