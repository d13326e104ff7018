"""The same convolutions at several sizes of the picture (SPPnet, section 4.1; Fast R-CNN, section 5.2)."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rcnn.backbones.single import SingleMapBackbone
from rcnn.backbones.trunk import Trunk


class ImagePyramid(nn.Module):
    """A backbone's last map of the picture scaled by each of `factors`, at most 1, as the levels of one pyramid.

    The canvas holds the picture at the largest scale; the smaller ones are made of it on the device.
    """

    extra_levels = 0

    def __init__(self, network: SingleMapBackbone, factors: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.factors = tuple(factors)
        self.strides = tuple(network.strides[0] / factor for factor in factors)
        self.channels = network.channels

    @property
    def body(self) -> Trunk:
        """The network's layers."""
        return self.network.body

    def forward(self, images: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """One map for each factor."""
        return [self.network(_scaled(images, factor))[0] for factor in self.factors]


def _scaled(images: Float[Tensor, "B C H W"], factor: float) -> Float[Tensor, "B C h w"]:
    if factor == 1:
        return images
    return F.interpolate(
        images, scale_factor=factor, mode="bilinear", align_corners=False, recompute_scale_factor=False
    )
