"""Any network of timm that tells its features, as a trunk; an extra of this library."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rcnn.backbones.survey import CANVAS, FINEST, passed_through
from rcnn.backbones.trunk import Trunk
from rcnn.errors import ConfigError, WeightsError, first_line

PREFIX = "timm:"
_ANY_SIZE: tuple[dict[str, Any], ...] = ({}, {"strict_img_size": False}, {"dynamic_img_size": True})
"""What timm calls it that a network takes pictures of any size: each family in its own way."""


class WholeTrunk(Trunk):
    """A network whose layers are no sequence; its maps number `indices` are the taps.

    It is one layer, so no stages can be told apart, and none of them frozen.
    """

    def __init__(
        self,
        network: nn.Module,
        indices: Sequence[int],
        channels: Sequence[int],
        strides: Sequence[int],
        channels_last: bool,
    ) -> None:
        super().__init__({"network": network}, ("network",), channels, strides, channels_last=channels_last)
        self.indices = tuple(indices)
        self.stages = ()

    def forward(self, images: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """The maps, finest first."""
        maps = self.get_submodule("network")(images)
        return [maps[n].permute(0, 3, 1, 2) if self.channels_last else maps[n] for n in self.indices]


def timm_trunk(name: str) -> Trunk:
    """The network `timm:NAME` with random weights; raises ConfigError for what timm or detection does not know."""
    network = _network(name, pretrained=False)
    info: Any = network.feature_info
    rows = list(zip(info.module_name(), info.channels(), info.reduction(), strict=True))
    kept = [place for place, (_, _, stride) in enumerate(rows) if stride >= FINEST]
    strides = tuple(int(rows[place][2]) for place in kept)
    if not kept or any(stride & (stride - 1) for stride in strides):
        raise ConfigError(f"model.backbone: {name} has strides {strides}, which are not powers of two; choose another")
    channels = tuple(int(rows[place][1]) for place in kept)
    last = str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC")
    if type(network).__name__ == "FeatureListNet":  # timm's: its layers run one after the other
        taps = [rows[place][0].replace(".", "_") for place in kept]
        return Trunk(dict(network.named_children()), taps, channels, strides, channels_last=last)
    return WholeTrunk(network, kept, channels, strides, last)


def timm_state(name: str) -> Mapping[str, Tensor]:
    """The pretrained weights of `timm:NAME`, from the hub's cache or the network; raises WeightsError when offline."""
    try:
        return _network(name, pretrained=True).state_dict()
    except ConfigError:
        raise
    except Exception as error:  # no network, a wrong hash, or a torn file in the cache
        raise WeightsError(
            f"{name}: its weights can be neither read from the cache nor downloaded ({first_line(error)}); "
            "pass --backbone-weights FILE or none"
        ) from error


def has_timm_weights(name: str) -> bool:
    """Whether timm publishes weights of `timm:NAME`."""
    return bool(_timm().is_model_pretrained(name.removeprefix(PREFIX)))


def timm_colours(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation that the pretrained weights of `timm:NAME` expect."""
    told = _timm().get_pretrained_cfg(name.removeprefix(PREFIX))
    return tuple(told.mean), tuple(told.std)


def _network(name: str, pretrained: bool) -> nn.Module:
    """timm's feature extractor, so made that it takes pictures of any size."""
    timm, plain = _timm(), name.removeprefix(PREFIX)
    if not timm.is_model(plain):
        near = difflib.get_close_matches(plain, timm.list_models(), 1)
        meant = f" (did you mean {PREFIX}{near[0]}?)" if near else ""
        raise ConfigError(f"model.backbone: timm has no {plain}{meant}; timm.list_models() lists what it has")
    problems: list[str] = []
    for options in _ANY_SIZE:
        try:
            network: nn.Module = timm.create_model(plain, pretrained=False, features_only=True, **options)
            passed_through(network, torch.zeros(1, 3, *CANVAS))
        except Exception as error:  # each network refuses in its own way
            problems.append(first_line(error))
            continue
        return timm.create_model(plain, pretrained=True, features_only=True, **options) if pretrained else network
    raise ConfigError(
        f"model.backbone: {name} gives no features of pictures of any size ({problems[0]}); choose another network"
    )


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise ConfigError("model.backbone: timm:NAME needs the extra timm; pip install 'rcnn[timm]'") from error
    return timm
