"""Frozen batch norm as part of the convolution before it, and other norms in a batch norm's place."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from rcnn.ops import conv2d

BATCH_NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d)


class FoldedConv2d(nn.Conv2d):
    """A convolution, then a batch norm whose statistics and weights stay as they are, in one pass over the features.

    The norm is a `scale` of each output channel and a `shift`. Scaling the weight says the same as scaling the output,
    for the gradient too, and saves reading and writing every activation twice, which matters for light networks.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, conv: nn.Conv2d, norm: nn.Module) -> None:
        kernel, stride, padding, dilation = conv.kernel_size, conv.stride, conv.padding, conv.dilation
        shape: Any = (conv.in_channels, conv.out_channels, kernel, stride, padding, dilation, conv.groups, False)
        super().__init__(*shape)
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()  # type: ignore[operator]
        shift = norm.bias - norm.running_mean * scale  # type: ignore[operator]
        if conv.bias is not None:
            shift = shift + conv.bias * scale
        self.weight = conv.weight
        self.register_buffer("scale", scale.detach().clone())
        self.register_buffer("shift", shift.detach().clone())

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """The convolution with scaled weights, and the shift as its bias."""
        weight = self.weight * self.scale[:, None, None, None]
        return conv2d(x, weight, self.shift, self.stride, self.padding, self.dilation, self.groups)

    def settled(self) -> nn.Conv2d:
        """The same convolution with its weight scaled once and for all: for a network that does not learn any more."""
        sides: Any = (self.kernel_size, self.stride, self.padding, self.dilation, self.groups)
        shape: Any = (self.in_channels, self.out_channels, *sides)
        conv = nn.Conv2d(*shape)
        conv.weight = nn.Parameter(self.weight.detach() * self.scale[:, None, None, None], requires_grad=False)
        conv.bias = nn.Parameter(self.shift.detach().clone(), requires_grad=False)
        return conv


def settle_norms(network: nn.Module) -> None:
    """Replace, in place, each `FoldedConv2d` of a network by a plain convolution that gives the same numbers."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, FoldedConv2d):
                setattr(parent, name, child.settled())


def fold_frozen_norm(network: nn.Module) -> None:
    """Replace, in place, each batch norm that directly follows a convolution by a `FoldedConv2d`.

    Torchvision's networks register a norm right after its convolution, in whatever block; that order is used.
    A test holds that the folded network's output equals the original's in evaluation mode.
    """
    for parent in list(network.modules()):
        children = list(parent.named_children())
        for (name, first), (norm_name, second) in pairwise(children):
            if isinstance(first, nn.Conv2d) and isinstance(second, BATCH_NORMS):
                with torch.no_grad():
                    setattr(parent, name, FoldedConv2d(first, second))
                setattr(parent, norm_name, nn.Identity())


def replace_norms(network: nn.Module, norm: Callable[[int], nn.Module]) -> None:
    """Put another norm in the place of each batch norm, in place; `norm` makes it for a number of channels."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, _with_activation(norm(child.num_features), child))


def has_norms(network: nn.Module, norm: str) -> bool:
    """Whether a network has norms of the kind that `model.norm` says: those without batch norm have none to choose."""
    kinds = {"frozen": (FoldedConv2d, *BATCH_NORMS), "batch": (nn.BatchNorm2d,), "group": (nn.GroupNorm,)}
    return any(isinstance(module, kinds[norm]) for module in network.modules())


def freeze_norms(network: nn.Module) -> None:
    """Let each batch norm that is left keep its statistics and weights, in place: those before a convolution.

    DenseNets have such norms. In timm's networks all are frozen so, for their order is not told by their names.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                frozen = FrozenBatchNorm2d(child.num_features, child.eps).to(child.weight)
                known = {key: value for key, value in child.state_dict().items() if key in frozen.state_dict()}
                frozen.load_state_dict(known)
                setattr(parent, name, _with_activation(frozen, child))


def _with_activation(norm: nn.Module, old: nn.BatchNorm2d) -> nn.Module:
    """A norm, and after it the activation that timm's norms have inside."""
    activation = getattr(old, "act", None)
    return nn.Sequential(norm, activation) if isinstance(activation, nn.Module) else norm
