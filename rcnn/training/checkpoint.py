"""The state of a training run as tensors and plain values, so that it can go on as if nothing had happened."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rcnn.training.averaging import PREFIX, Averaged


def pack(
    model: nn.Module, optimizer: torch.optim.Optimizer | None, averaged: Averaged | None = None
) -> dict[str, Tensor]:
    """All tensors of a model, its optimizer and its mean, if they are, by name, and the state of torch's generators."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items() if optimizer else ():
        tensors |= {f"optimizer/{index}/{key}": value for key, value in state.items() if isinstance(value, Tensor)}
    if (device := _device(model)).type == "cuda":  # dropout draws there
        tensors["random_cuda"] = torch.cuda.get_rng_state(device)
    return tensors | (averaged.state() if averaged else {}) | {"random": torch.get_rng_state()}


def unpack(
    tensors: Mapping[str, Tensor],
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    averaged: Averaged | None = None,
) -> None:
    """Put what `pack` gave back in its place."""
    model.load_state_dict(_named(tensors, "model/"))
    if averaged is not None:
        averaged.resume(tensors)
    torch.set_rng_state(tensors["random"])
    if (device := _device(model)).type == "cuda" and "random_cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random_cuda"], device)
    if optimizer is None:
        return
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/")
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    _lie_as_parameters(optimizer)


def _lie_as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Lay out the state of parameters as these lie: a file keeps values alone, and fused steps want one layout."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.dim() and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def model_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's part as it detects: the mean of the weights where there is one."""
    return _named(tensors, "model/") | _named(tensors, PREFIX)


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
