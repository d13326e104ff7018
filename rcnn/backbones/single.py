"""A network's last map alone, as the papers had it before pyramids."""

from jaxtyping import Float
from torch import Tensor, nn

from rcnn.backbones.trunk import Trunk


class SingleMapBackbone(nn.Module):
    """The last tap of a network: regions and the RPN read the same map, and there is no further level."""

    extra_levels = 0

    def __init__(self, body: Trunk) -> None:
        super().__init__()
        self.body = body
        self.strides = body.strides[-1:]
        self.channels = body.channels[-1]

    def forward(self, images: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """The map, as the only level of a list."""
        return self.body(images)[-1:]
