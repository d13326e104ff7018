"""The 3 x 3 convolutions of a network that does not learn any more, by this library's own operator."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rcnn.ops import conv3x3


class Conv3x3(nn.Conv2d):
    """A convolution of stride 1 with a border of zeros: quicker on large maps, the same to rounding."""

    @classmethod
    def sharing(cls, conv: nn.Conv2d) -> "Conv3x3":
        """The same convolution, with its parameters."""
        with torch.device("meta"):
            own = cls(conv.in_channels, conv.out_channels, 3, padding=1, bias=conv.bias is not None)
        own.weight, own.bias = conv.weight, conv.bias
        return own

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """The convolution."""
        return conv3x3(x, self.weight, self.bias)


def quicken(network: nn.Module) -> None:
    """Replace, in place, each plain 3 x 3 convolution that leaves a map's size as it is by a `Conv3x3`."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Conv2d and _leaves_the_size(child):
                setattr(parent, name, Conv3x3.sharing(child))


def _leaves_the_size(conv: nn.Conv2d) -> bool:
    settings: tuple[Any, ...] = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    return settings == ((3, 3), (1, 1), (1, 1), (1, 1), 1) and conv.padding_mode == "zeros"
