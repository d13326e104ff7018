"""From settings to the functions that say what is learned from, and what it costs."""

from collections.abc import Sequence

import torch

from rcnn.config import LossSettings
from rcnn.errors import ConfigError
from rcnn.losses import (
    BoxLoss,
    ClassLoss,
    FocalClasses,
    FocalObjectness,
    ObjectnessLoss,
    SmoothL1Boxes,
    WeightedClasses,
    giou_loss,
)
from rcnn.losses import class_loss as log_loss
from rcnn.losses import objectness_loss as logistic_loss
from rcnn.training.sampling import Choose, Hardest, at_random


def objectness_loss(settings: LossSettings) -> ObjectnessLoss:
    """Of the RPN's scores."""
    return logistic_loss if settings.objectness == "cross-entropy" else FocalObjectness(settings.gamma, settings.alpha)


def class_loss(settings: LossSettings, class_names: Sequence[str], device: torch.device) -> ClassLoss:
    """Of the head's scores; raises ConfigError for a weight of a class that there is not."""
    plain = log_loss if settings.classes == "cross-entropy" else FocalClasses(settings.gamma, settings.alpha)
    weights = settings.class_weights
    if not weights or not class_names:  # without names nothing is trained: the stages are only counted
        return plain
    assert weights != "balanced", "found from the data before the network is built"
    if unknown := sorted(set(weights) - set(class_names)):
        raise ConfigError(
            f"training.loss.class_weights: no class {unknown[0]!r} in the data; name some of {', '.join(class_names)}"
        )
    by_label = [1.0, *(weights.get(name, 1.0) for name in class_names)]  # type: ignore[union-attr]
    return WeightedClasses(plain, torch.tensor(by_label, device=device))


def box_loss(name: str, beta: float) -> BoxLoss:
    """Of boxes, by the name of the setting."""
    return giou_loss if name == "giou" else SmoothL1Boxes(beta)


def region_choice(settings: LossSettings) -> Choose:
    """Which regions the head learns from."""
    return at_random if settings.regions == "random" else Hardest(settings.regions_nms)
