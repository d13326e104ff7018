"""Truncated SVD of fully connected layers (Fast R-CNN, section 3.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rcnn.errors import ConfigError
from rcnn.heads.box_head import BoxHead


class LowRankLinear(nn.Module):
    """W ~ U_t S_t V_t^T as two layers: `first` is S_t V_t^T without a bias, `second` is U_t with the bias.

    Of u x v weights t(u + v) are left, and as many multiply-adds a row.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rank: int,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.first = nn.Linear(in_features, rank, bias=False, device=device, dtype=dtype)
        self.second = nn.Linear(rank, out_features, device=device, dtype=dtype)

    @property
    def rank(self) -> int:
        """How many singular values are kept."""
        return self.first.out_features

    def forward(self, x: Float[Tensor, "N I"]) -> Float[Tensor, "N O"]:
        """The layer's values of each row."""
        return self.second(self.first(x))


@dataclass(frozen=True)
class Decomposition:
    """A layer as U S V^T, from which layers of any rank are cut: T is the least of its two sides."""

    layer: nn.Linear
    left: Float[Tensor, "O T"]
    values: Float[Tensor, "T"]
    """The singular values, falling."""
    right: Float[Tensor, "T I"]

    def truncated(self, rank: int) -> LowRankLinear:
        """The best approximation of that rank (Eckart and Young, 1936)."""
        weight, values = self.layer.weight, self.values[:rank, None]
        low = LowRankLinear(self.layer.in_features, self.layer.out_features, rank, weight.device, weight.dtype)
        with torch.no_grad():
            low.first.weight.copy_(values * self.right[:rank])
            low.second.weight.copy_(self.left[:, :rank])
            low.second.bias.copy_(self.layer.bias)
        return low

    def energy(self, rank: int) -> float:
        """The share of the squared weights that this rank keeps."""
        squares = self.values.square()
        return float(squares[:rank].sum() / squares.sum())


def decompose(layer: nn.Linear) -> Decomposition:
    """The singular value decomposition of a layer's weight, computed in float64 on the processor."""
    left, values, right = torch.linalg.svd(layer.weight.detach().cpu().double(), full_matrices=False)
    return Decomposition(layer, left, values, right)


def truncate(layer: nn.Linear, rank: int) -> LowRankLinear:
    """The two layers that stand for one; at full rank they compute the same. Raises ConfigError for a wrong rank."""
    _check_rank(layer, rank, "the layer")
    return decompose(layer).truncated(rank)


def truncate_head(head: BoxHead, ranks: Mapping[str, int]) -> dict[str, Decomposition]:
    """Truncate layers of a trained head in place, by name; returns what they were.

    Raises ConfigError, with the head as it was, for a layer that the head does not have or that is truncated already,
    and for a rank out of range.
    """
    layers = {name: linear_layer(head, name) for name in ranks}
    for name, layer in layers.items():
        _check_rank(layer, ranks[name], name)
    parts = {name: decompose(layer) for name, layer in layers.items()}
    head.layers.update({name: part.truncated(ranks[name]) for name, part in parts.items()})
    return parts


def shape_head(head: BoxHead, ranks: Sequence[int]) -> None:
    """Give the layers of a new head, from fc6 on, the form that truncation to `ranks` left them in; 0 is full.

    Raises ConfigError for more ranks than layers, and for a rank out of range.
    """
    if len(ranks) > len(head.layers):
        raise ConfigError(
            f"model.head.ranks: {len(ranks)} ranks, but the head has {len(head.layers)} fully connected layers; "
            "give at most one for each"
        )
    for name, rank in zip(list(head.layers), ranks, strict=False):
        if rank:
            layer = linear_layer(head, name)
            _check_rank(layer, rank, f"model.head.ranks: {name}")
            weight = layer.weight
            head.layers[name] = LowRankLinear(layer.in_features, layer.out_features, rank, weight.device, weight.dtype)


def linear_layer(head: BoxHead, name: str) -> nn.Linear:
    """The fully connected layer of that name, whole; raises ConfigError where there is none."""
    if name not in head.layers:
        known = f"it has {', '.join(head.layers)}" if len(head.layers) else "it has none at all"
        raise ConfigError(f"{name}: the head has no fully connected layer of that name; {known}")
    layer = head.layers[name]
    if isinstance(layer, LowRankLinear):
        raise ConfigError(f"{name}: truncated to rank {layer.rank} already; begin with the run that it was made from")
    assert isinstance(layer, nn.Linear)
    return layer


def full_rank(layer: nn.Linear) -> int:
    """The largest rank that a layer can have."""
    return min(layer.in_features, layer.out_features)


def paying_rank(layer: nn.Linear) -> int:
    """The largest rank that leaves fewer parameters than the whole layer has: below u v / (u + v)."""
    u, v = layer.out_features, layer.in_features
    return (u * v - 1) // (u + v)


def parameters(layer: nn.Module) -> int:
    """Weights and biases of a layer."""
    return sum(parameter.numel() for parameter in layer.parameters())


def _check_rank(layer: nn.Linear, rank: int, name: str) -> None:
    highest = full_rank(layer)
    if not 1 <= rank <= highest:
        raise ConfigError(
            f"{name}: rank {rank} of a layer of {layer.in_features} x {layer.out_features}; give 1 to {highest}"
        )
