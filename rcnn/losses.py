"""What a wrong score or a wrong box costs. Every sum is over places that are valid; every mean over their number.

An objective is given its losses when it is built: any function of the forms `ObjectnessLoss`, `ClassLoss`, `BoxLoss`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from rcnn.boxes import decode, encode, paired_giou

ObjectnessLoss = Callable[[Float[Tensor, "B S"], Bool[Tensor, "B S"], Float[Tensor, "B S"]], Float[Tensor, "B S"]]
"""Of logits, whether each is an object, and what each counts."""
ClassLoss = Callable[[Float[Tensor, "B S K"], Int[Tensor, "B S"], Float[Tensor, "B S"]], Float[Tensor, "B S"]]
"""Of logits, the true class of each, and what each counts."""


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


@dataclass(frozen=True)
class FocalObjectness:
    """Logistic loss that counts less where the score is right already (RetinaNet, arXiv 1708.02002, equation 5).

    `alpha` is what an object counts, the background 1 - alpha; 0: both count 1.
    """

    gamma: float = 2.0
    alpha: float = 0.25

    def __call__(
        self, logits: Float[Tensor, "B S"], positive: Bool[Tensor, "B S"], weight: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B S"]:
        """The loss of each place, times its weight."""
        return weight * sigmoid_focal_loss(logits, positive.to(logits.dtype), self.alpha or -1, self.gamma)


@dataclass(frozen=True)
class FocalClasses:
    """The same for a softmax over classes, the background (label 0) among them: (1 - p)^gamma of the log loss."""

    gamma: float = 2.0
    alpha: float = 0.25

    def __call__(
        self, logits: Float[Tensor, "B S K"], labels: Int[Tensor, "B S"], weight: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B S"]:
        """The loss of each place, times its weight."""
        log_p = logits.log_softmax(-1).gather(2, labels[..., None])[..., 0]
        if self.alpha:
            weight = weight * ((labels > 0) * (2 * self.alpha - 1) + (1 - self.alpha))
        return -weight * (1 - log_p.exp()).pow(self.gamma) * log_p


@dataclass(frozen=True)
class WeightedClasses:
    """A loss of scores in which each class counts as much as is said of it; `by_label`: the background's first."""

    loss: ClassLoss
    by_label: Float[Tensor, "K"]

    def __call__(
        self, logits: Float[Tensor, "B S K"], labels: Int[Tensor, "B S"], weight: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B S"]:
        """The loss of each place, times its own weight and its class's."""
        return self.loss(logits, labels, weight * self.by_label[labels])


@runtime_checkable
class BoxLoss(Protocol):
    """What boxes cost that are told by deltas from references; the deltas are normalised by `mean` and `std`."""

    def __call__(
        self,
        deltas: Float[Tensor, "B S 4"],
        references: Float[Tensor, "B S 4"],
        truth: Float[Tensor, "B S 4"],
        weight: Float[Tensor, "B S"],
        mean: Tensor | float = 0.0,
        std: Tensor | float = 1.0,
    ) -> Float[Tensor, "B S"]:
        """The loss of each place, times its weight. All sides of references and truth are positive."""


@dataclass(frozen=True)
class SmoothL1Boxes:
    """Smooth L1 between the deltas and those that lead to the truth (Fast R-CNN, section 2.3)."""

    beta: float = 1 / 9

    def __call__(
        self,
        deltas: Float[Tensor, "B S 4"],
        references: Float[Tensor, "B S 4"],
        truth: Float[Tensor, "B S 4"],
        weight: Float[Tensor, "B S"],
        mean: Tensor | float = 0.0,
        std: Tensor | float = 1.0,
    ) -> Float[Tensor, "B S"]:
        """The loss of each place, times its weight."""
        return box_loss(deltas, (encode(truth, references) - mean) / std, weight, self.beta)


def giou_loss(
    deltas: Float[Tensor, "B S 4"],
    references: Float[Tensor, "B S 4"],
    truth: Float[Tensor, "B S 4"],
    weight: Float[Tensor, "B S"],
    mean: Tensor | float = 0.0,
    std: Tensor | float = 1.0,
) -> Float[Tensor, "B S"]:
    """1 - generalized IoU of the boxes that the deltas lead to, times the weight (arXiv 1902.09630)."""
    return weight * (1 - paired_giou(decode(deltas * std + mean, references), truth))
