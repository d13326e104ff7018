"""A 3 x 3 convolution that leaves a map's size as it is: what most of a detector's time goes into."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from rcnn.ops.conv3x3_winograd import TILE, conv3x3_winograd

CHANNELS, TILES = 256, 128
"""Where fewer go in or out, or a map has fewer tiles, transforming takes as long as it spares (docs/speed.md)."""


def conv3x3(
    x: Float[Tensor, "B C H W"], weight: Float[Tensor, "D C 3 3"], bias: Float[Tensor, "D"] | None
) -> Float[Tensor, "B D H W"]:
    """The convolution of stride 1 with a border of zeros.

    Large maps in single precision, without a gradient, go through Winograd's filters on the CPU: a quarter of the
    multiplications, for sums that are rounded five times as coarsely (5e-5 of features around 1).
    """
    if _pays(x, weight):
        return torch.ops.rcnn.conv3x3(x, weight, bias)
    return F.conv2d(x, weight, bias, padding=1)


def _pays(x: Tensor, weight: Tensor) -> bool:
    """Whether Winograd's way serves, and is the quicker one."""
    learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    leaves = torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()  # Dynamo says that it exports
    if learns or leaves or torch.is_autocast_enabled(x.device.type):
        return False
    plain = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    tiles = -(-x.shape[2] // TILE) * -(-x.shape[3] // TILE)
    large = min(weight.shape[:2]) >= CHANNELS and tiles >= TILES
    return plain and large and x.is_contiguous(memory_format=torch.channels_last)


@torch.library.custom_op("rcnn::conv3x3", mutates_args=())
def _conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return conv3x3_winograd(x, weight, bias)


@_conv3x3.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    shape = (x.shape[0], weight.shape[0], *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
