"""All settings of a detector and its training: typed, frozen, checked."""

from rcnn.config.augment import AugmentSettings
from rcnn.config.backbones import BACKBONES, Backbone
from rcnn.config.input import InputSettings
from rcnn.config.losses import LossSettings
from rcnn.config.model import (
    DetectionSettings,
    HeadSettings,
    ModelSettings,
    ProposalSettings,
    RPNSettings,
)
from rcnn.config.section import Section
from rcnn.config.training import RidgeSettings, SVMSettings, TrainingSettings

__all__ = [
    "BACKBONES",
    "AugmentSettings",
    "Backbone",
    "Config",
    "DetectionSettings",
    "HeadSettings",
    "InputSettings",
    "LossSettings",
    "ModelSettings",
    "ProposalSettings",
    "RPNSettings",
    "RidgeSettings",
    "SVMSettings",
    "Section",
    "TrainingSettings",
]


class Config(Section):
    """Everything that a run depends on beside its data."""

    input: InputSettings = InputSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
