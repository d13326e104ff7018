"""Torch's convolution; 3 x 3 ones of large maps, where most of a pyramid's time goes, by Winograd's filters."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from rcnn.ops.conv2d_winograd import TILE, conv3x3_winograd, weight_gradient_winograd

CHANNELS, TILES = 256, 128
"""Where fewer go in or out, or a map has fewer tiles, transforming takes as long as it spares (docs/speed.md)."""


def conv2d(
    x: Float[Tensor, "B C H W"],
    weight: Float[Tensor, "D _ _ _"],
    bias: Float[Tensor, "D"] | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] | str = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Float[Tensor, "B D _ _"]:
    """What `torch.nn.functional.conv2d` gives, with its gradients.

    On the CPU large maps in single precision, laid out channels last, go through Winograd's filters forth and back
    where it `may_be_quick`: a quarter of the multiplications, for outputs that are rounded up to five times as coarsely
    (5e-5 of features around 1).
    """
    if may_be_quick(weight, stride, padding, dilation, groups) and _is_large(x) and _computes_plainly(x, weight):
        return torch.ops.rcnn.conv3x3(x, weight, bias)
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)  # type: ignore[arg-type]


def may_be_quick(
    weight: Tensor, stride: Sequence[int], padding: Sequence[int] | str, dilation: Sequence[int], groups: int
) -> bool:
    """Whether it is 3 x 3, leaves a map's size as it is, and has many channels."""
    geometry = (tuple(weight.shape[2:]), tuple(stride), tuple(padding), tuple(dilation), groups)
    return geometry == ((3, 3), (1, 1), (1, 1), (1, 1), 1) and min(weight.shape[:2]) >= CHANNELS


def _is_large(x: Tensor) -> bool:
    return -(-x.shape[2] // TILE) * -(-x.shape[3] // TILE) >= TILES


def _computes_plainly(x: Tensor, weight: Tensor) -> bool:
    """Whether in single precision on a processor, channels last, and not on the way into a file for others."""
    leaves = torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()  # Dynamo says that it exports
    if leaves or x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    return x.dtype == weight.dtype == torch.float32 and x.is_contiguous(memory_format=torch.channels_last)


@torch.library.custom_op("rcnn::conv3x3", mutates_args=())
def _conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return conv3x3_winograd(x, weight, bias)


@_conv3x3.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _last(x, len(weight))


@torch.library.custom_op("rcnn::conv3x3_weight_gradient", mutates_args=())
def _weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    return weight_gradient_winograd(x, gradient)


@_weight_gradient.register_fake
def _(x: Tensor, gradient: Tensor) -> Tensor:
    shape = (gradient.shape[1], x.shape[1], 3, 3)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _last(x: Tensor, channels: int) -> Tensor:
    shape = (x.shape[0], channels, *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    x, weight = ctx.saved_tensors
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    to_x, to_weight, to_bias = ctx.needs_input_grad
    return (
        torch.ops.rcnn.conv3x3(gradient, weight.transpose(0, 1).flip(2, 3), None) if to_x else None,
        torch.ops.rcnn.conv3x3_weight_gradient(x, gradient) if to_weight else None,
        gradient.sum(dim=(0, 2, 3)) if to_bias else None,
    )


_conv3x3.register_autograd(_backward, setup_context=_save)
