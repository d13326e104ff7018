"""What every network of this library is: named layers in sequence, read at several places."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from rcnn.errors import ConfigError


class Trunk(nn.Module):
    """Named layers in sequence, with the outputs of some of them collected.

    `taps` names those layers, finest first; `channels` and `strides` are theirs, strides in pixels per cell.
    `stages` names the last layer of each part that can be frozen; the taps, unless told otherwise.
    `channels_last` says that features are [B, H, W, C] between the layers, as Swin has them; taps never are.
    The names of parameters are those of the classifier that the layers come from, so its weights fit.
    """

    def __init__(
        self,
        layers: dict[str, nn.Module],
        taps: Sequence[str],
        channels: Sequence[int],
        strides: Sequence[int] = (4, 8, 16, 32),
        stages: Sequence[str] = (),
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.taps = tuple(taps)
        self.channels = tuple(channels)
        self.strides = tuple(strides)
        self.stages = tuple(stages or taps)
        self.channels_last = channels_last
        self.frozen: tuple[str, ...] = ()

    def forward(self, images: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """The features after each tap."""
        features, x = [], images
        for name, layer in self.named_children():
            x = layer(x)
            if name in self.taps:
                features.append(x.permute(0, 3, 1, 2) if self.channels_last else x)
        return features

    def freeze(self, stages: int) -> None:
        """Stop training everything up to the end of stage number `stages` (0: nothing).

        Raises ConfigError where the network has fewer.
        """
        has = len(self.stages)
        if stages > has:
            raise ConfigError(f"model.frozen_stages: {stages}, but the network has {has} stages; give at most {has}")
        names = [name for name, _ in self.named_children()]
        self.frozen = tuple(names[: names.index(self.stages[stages - 1]) + 1]) if stages else ()
        for name in self.frozen:
            self.get_submodule(name).requires_grad_(False)

    def train(self, mode: bool = True) -> "Trunk":
        """As any module, but what is frozen keeps the statistics of its norms too."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self


def split(trunk: Trunk, stride: int) -> tuple[Trunk, nn.Sequential] | None:
    """A trunk up to its tap at `stride`, and the layers after it under their own names; None where nothing follows.

    Both hold the layers of `trunk`, which is not to be used any more.
    """
    if stride not in trunk.strides[:-1] or trunk.channels_last:
        return None
    kept = len(trunk.strides) - trunk.strides[::-1].index(stride)
    layers = dict(trunk.named_children())
    names = list(layers)
    place = names.index(trunk.taps[kept - 1]) + 1
    stages = tuple(name for name in trunk.stages if name in names[:place])
    front = {name: layers[name] for name in names[:place]}
    rest = nn.Sequential()
    for name in names[place:]:
        rest.add_module(name, layers[name])
    return Trunk(front, trunk.taps[:kept], trunk.channels[:kept], trunk.strides[:kept], stages), rest
