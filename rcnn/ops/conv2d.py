"""Torch's convolution; 3 x 3 ones of large maps, where most of a pyramid's time goes, by Winograd's filters."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from rcnn.ops.conv2d_winograd import conv3x3_winograd, empty_channels_last, weight_gradient_winograd

OUTPUTS, GRADIENT = (256, 2048), (64, 1024)
"""The least channels, in and out, and cells of a map with which Winograd's outputs, and gradient of the filters, are
quicker than torch's, measured on two cores with AVX2. Torch's gradient is slow on large maps, so that less pays there
(docs/speed.md)."""
WINOGRAD = os.environ.get("RCNN_WINOGRAD", "1") != "0"
"""Whether any convolution goes through Winograd's filters: where they do not pay the environment turns them off."""


def conv2d(
    x: Float[Tensor, "B C H W"],
    weight: Float[Tensor, "D _ _ _"],
    bias: Float[Tensor, "D"] | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] | str = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Float[Tensor, "B D _ _"]:
    """What `torch.nn.functional.conv2d` gives, with its gradients; the same numbers whether or not it learns.

    On the CPU large maps in single precision, laid out channels last, go through Winograd's filters where it
    `may_be_quick`: a quarter of the multiplications, for values that are rounded up to five times as coarsely (5e-5
    of features around 1). What is not finite there spreads over the 4 x 4 cells around it. Not for torch.func.
    """
    if may_be_quick(weight, stride, padding, dilation, groups) and _is_supported(x, weight, bias) and _pays(x, weight):
        return torch.ops.rcnn.conv3x3(x, weight, bias)
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)  # type: ignore[arg-type]


def may_be_quick(
    weight: Tensor, stride: Sequence[int], padding: Sequence[int] | str, dilation: Sequence[int], groups: int
) -> bool:
    """Whether it is 3 x 3, leaves a map's size as it is, and has enough channels; and whether that is wanted at all."""
    geometry = (tuple(weight.shape[2:]), tuple(stride), tuple(padding), tuple(dilation), groups)
    return WINOGRAD and geometry == ((3, 3), (1, 1), (1, 1), (1, 1), 1) and min(weight.shape[:2]) >= GRADIENT[0]


def _is_supported(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether in single precision on a processor, channels last, and not on the way into a file for others."""
    # While dynamo compiles, torch says that it exports whatever is done.
    exporting = torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()
    if exporting or x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    if any(each.dtype != torch.float32 for each in (x, weight, bias) if each is not None):
        return False
    fits = x.dim() == 4 and x.shape[1] == weight.shape[1] and (bias is None or bias.shape == weight.shape[:1])
    return fits and x.is_contiguous(memory_format=torch.channels_last)


def _pays(x: Tensor, weight: Tensor) -> bool:
    learns = torch.is_grad_enabled() and weight.requires_grad
    return _reaches(x, weight.shape, OUTPUTS) or (learns and _reaches(x, weight.shape, GRADIENT))


def _reaches(x: Tensor, channels: Sequence[int], least: tuple[int, int]) -> bool:
    return len(x) > 0 and min(channels[:2]) >= least[0] and x.shape[2] * x.shape[3] >= least[1]


@torch.library.custom_op("rcnn::conv3x3", mutates_args=())
def _conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """By Winograd's filters where that pays, with gradients that choose for themselves."""
    if _reaches(x, weight.shape, OUTPUTS):
        return conv3x3_winograd(x, weight, bias)
    return F.conv2d(x, weight, bias, padding=1).contiguous(memory_format=torch.channels_last)


@_conv3x3.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return empty_channels_last(x, x.shape[0], weight.shape[0], *x.shape[2:])


@torch.library.custom_op("rcnn::conv3x3_weight_gradient", mutates_args=())
def _weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    return weight_gradient_winograd(x, gradient)


@_weight_gradient.register_fake
def _(x: Tensor, gradient: Tensor) -> Tensor:
    return empty_channels_last(x, gradient.shape[1], x.shape[1], 3, 3)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    x, weight = ctx.saved_tensors
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    to_x, to_weight, to_bias = ctx.needs_input_grad
    return (
        torch.ops.rcnn.conv3x3(gradient, _turned(weight), None) if to_x else None,
        torch.ops.rcnn.conv3x3_weight_gradient(x, gradient) if to_weight else None,
        gradient.sum(dim=(0, 2, 3)) if to_bias else None,
    )


def _weight_gradient_backward(ctx: Any, filters: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Of a form that is linear in both its arguments, as the convolution is."""
    x, gradient = ctx.saved_tensors
    to_x, to_gradient = ctx.needs_input_grad
    return (
        torch.ops.rcnn.conv3x3(gradient, _turned(filters), None) if to_x else None,
        torch.ops.rcnn.conv3x3(x, filters, None) if to_gradient else None,
    )


def _turned(weight: Float[Tensor, "D C 3 3"]) -> Float[Tensor, "C D 3 3"]:
    """The filters that lead gradients back."""
    return weight.transpose(0, 1).flip(2, 3)


_conv3x3.register_autograd(_backward, setup_context=_keep)
_weight_gradient.register_autograd(_weight_gradient_backward, setup_context=_keep)
