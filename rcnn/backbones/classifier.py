"""Whole classifiers: what pretraining trains, and the fully connected layers that R-CNN and Fast R-CNN begin with."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torchvision
from jaxtyping import Float
from torch import Tensor, nn

from rcnn.backbones.networks import network as trunk_named
from rcnn.backbones.trunk import Trunk
from rcnn.backbones.weights import state_of
from rcnn.errors import ConfigError, WeightsError


@dataclass(frozen=True)
class FullyConnected:
    """The layers between conv5 and the classes: `widths` units; fc6 reads a grid of `grid` x `grid` cells.

    `names` are theirs in a state dict of the classifier.
    """

    widths: tuple[int, int] = (4096, 4096)
    grid: int = 6
    names: tuple[str, str] = ("classifier.fc6", "classifier.fc7")


FULLY_CONNECTED = {
    "alexnet": FullyConnected(names=("classifier.1", "classifier.4")),
    "caffenet": FullyConnected(),
    "vgg-m": FullyConnected(widths=(4096, 1024)),
    "vgg16": FullyConnected(grid=7, names=("classifier.0", "classifier.3")),
    "zf": FullyConnected(),
}
"""The networks that have such layers."""


def fully_connected(network: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`fc6.weight`, `fc6.bias`, `fc7.weight` and `fc7.bias` of a classifier's state dict, for a detector's head.

    A head flattens its regions channels last, so fc6's columns are put in the order row, column, channel. Empty if
    the network has no such layers, or the state dict holds the convolutions alone. Raises WeightsError for layers of
    another size.
    """
    layers = FULLY_CONNECTED.get(network, FullyConnected(names=("", "")))
    found = {
        f"{layer}.{kind}": value
        for layer, name in zip(("fc6", "fc7"), layers.names, strict=True)
        for kind in ("weight", "bias")
        if (value := state.get(f"{name}.{kind}", state.get(f"module.{name}.{kind}"))) is not None
    }
    if not found:
        return {}
    first, second = layers.widths
    cells = layers.grid**2
    shapes = {"fc6.bias": (first,), "fc7.weight": (second, first), "fc7.bias": (second,)}
    right = all(name in found and found[name].shape == shape for name, shape in shapes.items())
    weight = found.get("fc6.weight")
    if weight is None or not right or weight.ndim != 2 or len(weight) != first or weight.shape[1] % cells:
        raise WeightsError(
            f"{network}: {' and '.join(layers.names)} of the weights are not of {first} and {second} units on "
            f"{layers.grid} x {layers.grid} cells; pass a state dict of that classifier"
        )
    return found | {"fc6.weight": by_cell(weight, layers.grid)}


def load_fully_connected(layers: nn.Module, network: str, source: Path | None) -> None:
    """Fill a head's layers `fc6` and `fc7` from the classifier in a file or, without one, from torchvision's.

    Raises WeightsError where there are none, or where they are of another size than the head's.
    """
    found, own = fully_connected(network, state_of(network, source)), layers.state_dict()
    if not found:
        raise WeightsError(
            f"{source or network}: holds no fc6 and fc7; pass a whole classifier of a network that has them "
            f"({', '.join(FULLY_CONNECTED)}), or model.head.pretrained=false"
        )
    wrong = [name for name, value in found.items() if name not in own or own[name].shape != value.shape]
    if wrong:
        theirs, ours = tuple(found[wrong[0]].shape), tuple(own[wrong[0]].shape) if wrong[0] in own else "missing"
        raise WeightsError(
            f"{source or network}: {wrong[0]} is {theirs}, in the head {ours}; "
            "give model.head the widths and the grid of that classifier, or model.head.pretrained=false"
        )
    layers.load_state_dict(found, strict=False)


def by_cell(weight: Float[Tensor, "N D"], grid: int) -> Float[Tensor, "N D"]:
    """Columns in the order row, column, channel, as our heads flatten; from torchvision's channel, row, column."""
    return weight.unflatten(1, (-1, grid, grid)).permute(0, 2, 3, 1).flatten(1)


class Classifier(nn.Module):
    """A trunk, its last map pooled, fully connected layers with dropout between, and the classes' logits."""

    def __init__(self, features: Trunk, pool: nn.Module, cells: int, widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.features = features
        self.pool = pool
        layers: dict[str, nn.Module] = {}
        sides = (features.channels[-1] * cells, *widths)
        for number, (before, after) in enumerate(pairwise(sides), start=6):
            layers |= {
                f"drop{number}": nn.Dropout(),
                f"fc{number}": nn.Linear(before, after),
                f"relu{number}": nn.ReLU(),
            }
        self.classifier = nn.Sequential()
        for name, layer in (layers | {"logits": nn.Linear(sides[-1], classes)}).items():
            self.classifier.add_module(name, layer)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """The logits of the classes."""
        return self.classifier(self.pool(self.features(images)[-1]).flatten(1))


def classifier(network: str, classes: int) -> nn.Module:
    """The network as a classifier with random weights: torchvision's own where it has one, else a `Classifier`.

    Raises ConfigError for a network that tells classes apart by no fully connected layer.
    """
    if network in _TORCHVISION or network in torchvision.models.list_models(module=torchvision.models):
        model = torchvision.models.get_model(_TORCHVISION.get(network, network), weights=None, num_classes=classes)
        if not any(isinstance(module, nn.Linear) for module in model.modules()):
            raise ConfigError(
                f"--backbone {network}: ends in a convolution, and a last layer is needed; choose another"
            )
        return model
    trunk = trunk_named(network)
    if network not in FULLY_CONNECTED:
        return Classifier(trunk, nn.AdaptiveAvgPool2d(1), 1, (), classes)
    layers = FULLY_CONNECTED[network]
    return Classifier(trunk, nn.AdaptiveMaxPool2d(layers.grid), layers.grid**2, layers.widths, classes)


def last_layer(model: nn.Module) -> nn.Linear:
    """The layer of a classifier that tells the classes apart."""
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


_TORCHVISION = {
    "mobilenet-v2": "mobilenet_v2",
    "mobilenet-v3-large": "mobilenet_v3_large",
    "mobilenet-v3-large-top": "mobilenet_v3_large",
}
"""What torchvision calls its classifiers, where that is another name."""
