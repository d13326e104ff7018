"""Optimizers, and the rate over time."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True)
class OptimizerSettings:
    """Which optimizer, and its constants; `lr` is the full rate for the real number of pictures a step."""

    name: Literal["sgd", "adamw"]
    lr: float
    momentum: float
    weight_decay: float


def make_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """The optimizer of all parameters that train, in the order of `named_parameters`."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if settings.name == "adamw":
        return torch.optim.AdamW(trainable, settings.lr, weight_decay=settings.weight_decay)
    return torch.optim.SGD(trainable, settings.lr, settings.momentum, weight_decay=settings.weight_decay)


@dataclass(frozen=True)
class Schedule:
    """The rate's factor over `steps` steps: up in a line over `warmup`; then constant, times 0.1 at each of `drops`
    (parts of all steps), or along a cosine to zero where `drops` is None."""

    steps: int
    warmup: int
    drops: tuple[float, ...] | None

    def factor(self, step: int) -> float:
        """The factor of step number `step`, counted from 0."""
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        if self.drops is None:
            return rise * 0.5 * (1 + math.cos(math.pi * min(step, self.steps) / self.steps))
        return rise * 0.1 ** sum(step >= drop * self.steps for drop in self.drops)
