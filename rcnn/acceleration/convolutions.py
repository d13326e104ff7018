"""This library's convolution in the place of torch's, where it may be quicker."""

from jaxtyping import Float
from torch import Tensor, nn

from rcnn.ops import conv2d
from rcnn.ops.conv2d import may_be_quick


class QuickConv2d(nn.Conv2d):
    """A convolution that is quicker on large maps, and the same to rounding."""

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """The convolution."""
        if self.padding_mode != "zeros":
            return super().forward(x)
        return conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def quicken(network: nn.Module) -> None:
    """Make each of torch's convolutions that may be quicker a `QuickConv2d`, in place; all else of it stays."""
    for module in network.modules():
        if type(module) is nn.Conv2d and _qualifies(module):
            module.__class__ = QuickConv2d


def _qualifies(conv: nn.Conv2d) -> bool:
    return may_be_quick(conv.weight, conv.stride, conv.padding, conv.dilation, conv.groups)
