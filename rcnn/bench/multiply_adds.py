"""How many multiply-adds a network does, told by the shapes that go through it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode


class Tally:
    """Multiply-adds so far."""

    total = 0

    def add(self, layer: nn.Module, _: object, output: Tensor) -> None:
        """Count a layer that has just run: each of its outputs is a sum over the weights of one output channel."""
        assert isinstance(layer.weight, Tensor)
        self.total += output.numel() * layer.weight[0].numel()


@contextmanager
def counting(model: nn.Module) -> Iterator[Tally]:
    """Count the multiply-adds of the convolutions and fully connected layers of a model that run inside."""
    tally = Tally()
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(tally.add) for layer in layers]
    try:
        yield tally
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def multiply_adds(model: nn.Module, work: Callable[[], object]) -> int:
    """Of some work of a model; by its shapes, without doing it."""
    with FakeTensorMode(allow_non_fake_inputs=True), counting(model) as tally:
        work()
    return tally.total
