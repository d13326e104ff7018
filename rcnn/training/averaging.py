"""The running mean of a network's weights, which mostly detects better than the weights themselves."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

PREFIX = "ema/"
"""What the names of the mean's tensors begin with in a file."""


class Averaged:
    """An exponential moving average (EMA) of the parts of a model that train, and of its norms' statistics.

    After each move of the weights the mean keeps `decay` of itself; at first less, (1 + n) / (10 + n) after n moves,
    so that the weights that training began with are soon forgotten (TensorFlow's ExponentialMovingAverage). Nothing
    waits for the device.
    """

    def __init__(self, model: nn.Module, decay: float, trains: Sequence[str] = ("",)) -> None:
        buffers = {name for name, _ in model.named_buffers()}
        moving = {name for name, p in model.named_parameters() if p.requires_grad and name.startswith(tuple(trains))}
        state = model.state_dict().items()  # of the parameters' own memory
        self.own = {n: t for n, t in state if n in buffers | moving and t.is_floating_point()}
        self.decay = decay
        self.begin()

    def begin(self) -> None:
        """Forget all: the mean is the weights as they are."""
        self.mean = {name: tensor.clone() for name, tensor in self.own.items()}
        self.moves = 0

    def update(self) -> None:
        """Take in the weights as they are now."""
        self.moves += 1
        decay = min(self.decay, (1 + self.moves) / (10 + self.moves))
        torch._foreach_lerp_(list(self.mean.values()), list(self.own.values()), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While this context lasts, the model has the mean for weights."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def adopt(self) -> None:
        """Let the model have the mean for weights from now on."""
        for name, own in self.own.items():
            own.copy_(self.mean[name])

    def _exchange(self) -> None:
        for name, own in self.own.items():  # the memory of each stays where it is: CUDA graphs read it there
            before = own.clone()
            own.copy_(self.mean[name])
            self.mean[name].copy_(before)

    def state(self) -> dict[str, Tensor]:
        """What a file must hold to go on from."""
        named = {f"{PREFIX}{name}": tensor for name, tensor in self.mean.items()}
        return named | {"ema_moves": torch.tensor(self.moves)}

    def resume(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `state` gave."""
        self.moves = int(tensors["ema_moves"])
        for name, mean in self.mean.items():
            mean.copy_(tensors[f"{PREFIX}{name}"])
