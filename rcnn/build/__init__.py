"""From a configuration to objects: the only place that knows both."""

from rcnn.build.model import detector, has_weights, preprocess, proposer, quickened, resolved
from rcnn.build.refuse import MANY_CANVASES, refuse
from rcnn.build.training import (
    augment,
    batches,
    optimizer_settings,
    ridge_settings,
    schedule,
    stages,
    svm_settings,
    training_limits,
)

__all__ = [
    "MANY_CANVASES",
    "augment",
    "batches",
    "detector",
    "has_weights",
    "optimizer_settings",
    "preprocess",
    "proposer",
    "quickened",
    "refuse",
    "resolved",
    "ridge_settings",
    "schedule",
    "stages",
    "svm_settings",
    "training_limits",
]
