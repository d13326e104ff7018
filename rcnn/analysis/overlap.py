"""Overlaps of NumPy boxes, by the library's box arithmetic."""

import numpy as np
import torch
from jaxtyping import Float

from rcnn import boxes as box_ops


def iou(a: Float[np.ndarray, "N 4"], b: Float[np.ndarray, "M 4"]) -> Float[np.ndarray, "N M"]:
    """Intersection over union of every pair, in double precision."""
    first, second = (torch.from_numpy(np.asarray(boxes, np.float64)) for boxes in (a, b))
    return box_ops.iou(first, second).numpy()
