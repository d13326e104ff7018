"""Optimizers, and the rate over time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True)
class OptimizerSettings:
    """Which optimizer, and its constants; `lr` is the full rate for the real number of pictures a step.

    Biases learn at `bias_lr` times that rate, and decay only if `bias_decay`; the parts `new` at `new_lr` times it.
    """

    name: Literal["sgd", "adamw"]
    lr: float
    momentum: float
    weight_decay: float
    bias_lr: float = 1.0
    bias_decay: bool = True
    new_lr: float = 1.0
    new: tuple[str, ...] = ("head.cls_score.",)


def make_optimizer(
    model: nn.Module, settings: OptimizerSettings, trains: Sequence[str] = ("",)
) -> torch.optim.Optimizer:
    """The optimizer of all parameters that train and whose names begin with one of `trains`.

    Parameters of the same rate and decay share a group; `factor` is its rate over the full one.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and name.startswith(tuple(trains)):
            groups.setdefault(_rate_and_decay(name, settings), []).append(parameter)
    rows = [
        {"params": params, "factor": factor, "lr": factor * settings.lr, "weight_decay": decay}
        for (factor, decay), params in groups.items()
    ]
    # On the processor a fused step rounds by where in memory its tensors lie: a resumed run would not be the same.
    fused = {parameter.device.type for own in groups.values() for parameter in own} == {"cuda"}
    if settings.name == "adamw":
        return torch.optim.AdamW(rows, settings.lr, fused=fused)
    return torch.optim.SGD(rows, settings.lr, settings.momentum, fused=fused)


def _rate_and_decay(name: str, settings: OptimizerSettings) -> tuple[float, float]:
    bias = name.endswith("bias")
    factor = (settings.bias_lr if bias else 1.0) * (settings.new_lr if name.startswith(settings.new) else 1.0)
    return factor, settings.weight_decay if settings.bias_decay or not bias else 0.0


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
