"""A feature pyramid over a network's stages (Feature Pyramid Networks, section 3)."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from rcnn.backbones.trunk import Trunk


class EverySecondCell(ExtraFPNBlock):  # type: ignore[misc]
    """The coarsest level: every second cell of the one before, as torchvision's pooling of single cells gives.

    (Of pooling, torch.export knows only for one parity of a canvas of any size how large its result is.)
    """

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """The levels and their names with one more of each."""
        return [*results, results[-1][:, :, ::2, ::2]], [*names, "pool"]


class PyramidBackbone(nn.Module):
    """The pyramid P2, P3, ... of one channel count, and after it one coarser level for the RPN alone.

    `strides` are those of the levels that regions are read from; the extra level is not among them.
    """

    extra_levels = 1

    def __init__(
        self,
        body: Trunk,
        channels: int = 256,
        norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramidNetwork(list(body.channels), channels, EverySecondCell(), norm)
        self.strides = body.strides
        self.channels = channels

    def forward(self, images: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """Features, finest first."""
        stages = {str(place): stage for place, stage in enumerate(self.body(images))}
        return list(self.fpn(stages).values())
