"""From pooled features to class scores and box deltas (Fast R-CNN, section 2)."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class BoxHead(nn.Module):
    """Optional 3x3 convolutions, fully connected layers, then the two siblings: K + 1 logits, and 4 deltas a class.

    `fc6` takes the features of a region row by row, channels last, which is how RoIAlign lays them out:
    flattening copies nothing.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int,
        width: int = 1024,
        convs: int = 0,
        layers: int = 2,
        norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(_convolution(channels, norm) for _ in range(convs)))
        widths = [channels * size * size] + [width] * layers
        names = [f"fc{6 + n}" for n in range(layers)]
        self.layers = nn.ModuleDict({n: nn.Linear(a, b) for n, a, b in zip(names, widths, widths[1:], strict=False)})
        self.cls_score = nn.Linear(widths[-1], classes + 1)
        self.bbox_pred = nn.Linear(widths[-1], 4 * (classes + 1))

    def forward(self, pooled: Float[Tensor, "N C S S"]) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N K 4"]]:
        """Logits and deltas of each region; class 0 is the background."""
        x = self.convs(pooled).permute(0, 2, 3, 1).flatten(1)
        for layer in self.layers.values():
            x = F.relu(layer(x))
        return self.cls_score(x), self.bbox_pred(x).unflatten(1, (-1, 4))


def _convolution(channels: int, norm: Callable[[int], nn.Module] | None) -> nn.Sequential:
    layers = [nn.Conv2d(channels, channels, 3, padding=1, bias=norm is None)]
    return nn.Sequential(*layers, *([norm(channels)] if norm else []), nn.ReLU(inplace=True))
