"""What a wrong score or a wrong box costs. Every sum is over places that are valid; every mean over their number."""

from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F


def mean_over(values: Float[Tensor, "*N"], count: Float[Tensor, "*N"]) -> Float[Tensor, ""]:
    """The sum of `values` over the sum of `count`; 0 where nothing counts, never not-a-number."""
    return values.sum() / count.sum().clamp(min=1)


def objectness_loss(
    logits: Float[Tensor, "B S"], positive: Bool[Tensor, "B S"], weight: Float[Tensor, "B S"]
) -> Float[Tensor, "B S"]:
    """Logistic loss of each place, times its weight (Faster R-CNN, equation 1, with one logit an anchor)."""
    return weight * F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction="none")


def class_loss(
    logits: Float[Tensor, "B S K"], labels: Int[Tensor, "B S"], weight: Float[Tensor, "B S"]
) -> Float[Tensor, "B S"]:
    """Log loss of each place, times its weight (Fast R-CNN, section 2.3)."""
    return weight * F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(weight)


def box_loss(
    deltas: Float[Tensor, "B S 4"], wanted: Float[Tensor, "B S 4"], weight: Float[Tensor, "B S"], beta: float
) -> Float[Tensor, "B S"]:
    """Smooth L1 of each place, summed over its four deltas, times its weight; `beta` is where square turns straight."""
    return weight * F.smooth_l1_loss(deltas, wanted, reduction="none", beta=beta).sum(-1)
