"""ReLU6 as compiled training wants it: its gradient is told by what it gives, which the next layer keeps anyway."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LeanReLU6(nn.ReLU6):
    """The same numbers and gradients.

    Torch's gradient asks for the inputs. A compiled forward pass keeps a mask of them for it, an array more for each
    layer, which processors without wide vectors are slow to write.
    """

    def forward(self, input: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """Between 0 and 6."""
        return _ReLU6.apply(input)  # type: ignore[no-untyped-call]


class _ReLU6(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.clamp(0, 6)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.where((y <= 0) | (y >= 6), 0, grads[0])


def lean(network: nn.Module) -> None:
    """Make each ReLU6 of a network a `LeanReLU6`, in place."""
    for module in network.modules():
        if type(module) is nn.ReLU6:
            module.__class__ = LeanReLU6
