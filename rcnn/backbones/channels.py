"""Pictures of any number of channels through networks that were made for red, green and blue."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rcnn.errors import ConfigError


def first_convolution(network: nn.Module) -> str:
    """The name of the layer that reads the picture."""
    return next(name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d))


def widen(network: nn.Module, channels: int) -> None:
    """Let a network of random weights read pictures of so many channels, in place.

    Its first convolution's new weights are the old ones' channels in turn, as large as keeps the activations' size.
    """
    if channels == 3:
        return
    name = first_convolution(network)
    old: nn.Conv2d = network.get_submodule(name)  # type: ignore[assignment]
    if old.in_channels != 3 or old.groups != 1:
        raise ConfigError(f"input.channels: the backbone's first layer reads {old.in_channels}, not 3; choose another")
    turns = old.weight[:, torch.arange(channels) % 3] * math.sqrt(3 / channels)
    old.weight = nn.Parameter(turns.detach().clone())  # in place: some families' convolutions are of their own kind
    old.in_channels = channels


def inflated(weight: Float[Tensor, "D 3 h w"], channels: int) -> Float[Tensor, "D C h w"]:
    """A pretrained kernel for red, green and blue as one for so many channels.

    Each channel gets the mean of the three, times 3 / channels: a gray picture in all channels gives what it gave in
    red, green and blue, and for one channel the three are summed. (For time, not colour, so did Carreira and
    Zisserman, arXiv 1705.07750, section 2.2.)
    """
    return (weight.mean(dim=1, keepdim=True) * (3 / channels)).repeat(1, channels, 1, 1)
