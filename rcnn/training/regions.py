"""The candidates of a picture, as the last two training stages of R-CNN and SPPnet see them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from rcnn.boxes import area, intersection, iou
from rcnn.errors import DataError
from rcnn.sample import Sample


@dataclass(frozen=True)
class Regions:
    """One picture's candidates, R in all: its proposals, then its true boxes without crowds. No network is asked."""

    boxes: Float[np.ndarray, "R 4"]
    """In pixels of the picture itself."""
    overlaps: Float[np.ndarray, "R K"]
    """The highest IoU with a true box of each class, difficult ones included."""
    truth: Int[np.ndarray, "R"]
    """The class 1..K of a true box; 0 for a proposal."""
    difficult: Bool[np.ndarray, "R"]

    def __len__(self) -> int:
        return len(self.truth)


def regions_of(sample: Sample, class_names: Sequence[str], maximum: int) -> Regions:
    """The regions of a picture with at most `maximum` of its proposals.

    A proposal that lies at least half in a crowd and on no object (IoU under 0.5) is left out: nobody knows what it is.
    Raises DataError for a picture without a list of proposals, and for names that are not among `class_names`.
    """
    unknown = sorted(set(sample.names) - set(class_names))
    if unknown:
        raise DataError(f"sample {sample.id}: class {unknown[0]} is not one of the model's; leave the object out")
    crowd, difficult = np.array(sample.crowd, bool), np.array(sample.difficult, bool)
    labels = np.array([class_names.index(name) + 1 for name in sample.names], np.int32)[~crowd]
    objects, crowds = (torch.tensor(sample.boxes[which]) for which in (~crowd, crowd))
    proposals = torch.tensor(sample.regions[:maximum])
    covered = (intersection(proposals, crowds) >= 0.5 * area(proposals)[:, None]).any(1)
    proposals = proposals[~covered | (iou(proposals, objects) >= 0.5).any(1)]
    boxes = torch.cat((proposals, objects))
    overlaps = np.zeros((len(boxes), len(class_names)), np.float32)
    for label, column in zip(labels, iou(boxes, objects).numpy().T, strict=True):
        overlaps[:, label - 1] = np.maximum(overlaps[:, label - 1], column)
    truth = np.concatenate((np.zeros(len(proposals), np.int32), labels))
    return Regions(boxes.numpy(), overlaps, truth, np.concatenate((np.zeros(len(proposals), bool), difficult[~crowd])))
