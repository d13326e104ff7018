"""Whether two ways have given the same, and in how many words one may say how near."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from rcnn.structures import Detections


def same(ours: Tensor, theirs: Tensor, what: str) -> None:
    """Raise AssertionError unless two tensors are equal to the bit."""
    if not torch.equal(ours, theirs):
        differing = int((ours != theirs).sum()) if ours.shape == theirs.shape else "all"
        raise AssertionError(f"{what}: {differing} of {theirs.numel()} values differ")


def near(ours: Tensor, theirs: Tensor, tolerance: float, what: str) -> float:
    """The largest difference, as a share of the largest value; raises AssertionError above `tolerance`."""
    if ours.shape != theirs.shape:
        raise AssertionError(f"{what}: shape {tuple(ours.shape)} against {tuple(theirs.shape)}")
    scale = float(theirs.abs().max().clamp(min=1e-12))
    difference = float((ours.float() - theirs.float()).abs().max()) / scale
    if not difference <= tolerance:
        raise AssertionError(f"{what}: differs by {difference:.1e} of the largest value, allowed {tolerance:.0e}")
    return difference


def matched(ours: Detections, theirs: Detections, least: float, pixels: float, score: float) -> float:
    """The share of detections that the other side has too: class, corners within `pixels`, and the score.

    Each has one partner at most, so what is found twice counts against it. Raises AssertionError under `least`.
    """
    near_by = (ours.boxes[:, None] - theirs.boxes[None]).abs().amax(-1) <= pixels
    alike = (ours.scores[:, None] - theirs.scores[None]).abs() <= score
    pairs = near_by & alike & (ours.labels[:, None] == theirs.labels[None])
    own, other = linear_sum_assignment(pairs.numpy(), maximize=True)
    share = float(pairs[own, other].sum()) / max(len(ours), len(theirs), 1)
    if share < least:
        raise AssertionError(f"only {share:.0%} of the detections are the same, wanted {least:.0%}")
    return share
