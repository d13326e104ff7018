"""Mean and spread of the box targets that a set of proposals gives (Fast R-CNN, section 2.3)."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from rcnn.boxes import encode, iou
from rcnn.sample import Sample

DEFAULT_STD = (0.1, 0.1, 0.2, 0.2)  # Faster R-CNN's code, for a class that no proposal overlaps


def measure_boxes(
    samples: Sequence[Sample],
    class_names: Sequence[str],
    least_iou: float = 0.5,
    mirrored: bool = True,
    most: int | None = None,
    difficult: bool = True,
) -> tuple[Float[np.ndarray, "K1 4"], Float[np.ndarray, "K1 4"]]:
    """Mean and standard deviation of (tx, ty, tw, th) for the background, row 0, and each class.

    They are those of the first `most` proposals and of true boxes that overlap their best object by `least_iou`; of
    mirror images too if `mirrored`. Crowds teach nothing, and difficult objects only if `difficult`.
    """
    rows = [_targets(sample, class_names, least_iou, most, difficult) for sample in samples]
    labels, targets = (np.concatenate(part) for part in zip(*rows, strict=True))
    mean = np.zeros((len(class_names) + 1, 4), np.float32)
    std = mean + np.array(DEFAULT_STD, np.float32)
    for label in np.unique(labels):
        own = targets[labels == label]
        own = np.concatenate((own, own * (-1, 1, 1, 1))) if mirrored else own
        mean[label], std[label] = own.mean(0), np.maximum(own.std(0), 1e-3)
    return mean, std


def _targets(
    sample: Sample, class_names: Sequence[str], least_iou: float, most: int | None, difficult: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Label and deltas of each proposal that overlaps an object enough."""
    teaches = ~np.asarray(sample.crowd) & (difficult | ~np.asarray(sample.difficult))
    objects = torch.from_numpy(sample.boxes[teaches]).double()
    names = [name for name, kept in zip(sample.names, teaches, strict=True) if kept]
    proposals = np.zeros((0, 4), np.float32) if sample.proposals is None else sample.proposals[:most]
    regions = torch.cat((torch.from_numpy(np.ascontiguousarray(proposals)).double().reshape(-1, 4), objects))
    if not names:
        return np.zeros(0, np.int64), np.zeros((0, 4))
    best, index = iou(regions, objects).max(1)
    kept = best >= least_iou
    labels = np.array([class_names.index(name) + 1 for name in names], np.int64)
    return labels[index[kept].numpy()], encode(objects[index[kept]], regions[kept]).numpy()
