"""Classification networks, cut into the stages whose outputs a detector reads."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise, takewhile
from math import gcd

import torchvision
from torch import nn
from torchvision.models import WeightsEnum

from rcnn.backbones import papers
from rcnn.backbones.channels import widen
from rcnn.backbones.norm import replace_norms
from rcnn.backbones.survey import trunk_of
from rcnn.backbones.timm_networks import PREFIX, has_timm_weights, timm_trunk
from rcnn.backbones.trunk import Trunk


def group_norm(channels: int) -> nn.GroupNorm:
    """The norm for training from random weights: small batches and padding spoil a batch norm's statistics."""
    return nn.GroupNorm(gcd(32, channels), channels)


NormLayer = Callable[[int], nn.Module] | None
"""Makes the norm of some channels; None for the network's usual one."""


def torchvision_trunk(name: str, norm: NormLayer = None) -> Trunk:
    """One of torchvision's classifiers with random weights, without its pooling and classifier."""
    return _normed(trunk_of(_layers(torchvision.models.get_model(name, weights=None))), norm)


def _normed(trunk: Trunk, norm: NormLayer) -> Trunk:
    if norm is not None:
        replace_norms(trunk, norm)
    return trunk


def _layers(classifier: nn.Module) -> dict[str, nn.Module]:
    """The layers in sequence of a classifier of torchvision's, up to its pooling."""
    children = dict(classifier.named_children())
    for inside in ("features", "layers"):
        if inside in children:
            return dict(children[inside].named_children())
    layers = dict(takewhile(lambda item: item[0] not in ("avgpool", "fc"), children.items()))
    if "trunk_output" in layers:  # a RegNet's four stages
        layers |= dict(layers.pop("trunk_output").named_children())
    return layers


def caffe_resnet(name: str, norm: NormLayer = None) -> Trunk:
    """A ResNet as first published: a stage halves the map in its first 1x1 convolution, not in its 3x3 one."""
    trunk = torchvision_trunk(name, norm)
    for stage in ("layer2", "layer3", "layer4"):
        first = trunk.get_submodule(f"{stage}.0")
        first.conv1.stride, first.conv2.stride = first.conv2.stride, first.conv1.stride  # type: ignore[assignment]
    return trunk


def mobilenet_v3_large_top(norm: NormLayer) -> Trunk:
    """MobileNetV3 at its last stage alone, as torchvision's detectors read it: cheap, and blind to small objects."""
    features: nn.Module = _models.mobilenet_v3_large(norm_layer=norm).features
    return Trunk(dict(features.named_children()), ("13", "16"), (160, 960), (32, 32))


def small(norm: NormLayer) -> Trunk:
    """Seven 3x3 convolutions, for small pictures and random weights: what `rcnn demo` trains in minutes."""
    widths = (24, 48, 96, 160, 192)
    layers: dict[str, nn.Module] = {"stem": _conv(3, widths[0], 2, norm)}
    for stage, (before, after) in enumerate(pairwise(widths), start=1):
        blocks = [_conv(before, after, 2, norm)] + [_conv(after, after, 1, norm)] * (stage < 3)
        layers[f"stage{stage}"] = nn.Sequential(*blocks)
    return Trunk(layers, ("stage1", "stage2", "stage3", "stage4"), widths[1:])


def paper(build: Callable[[], Trunk], norm: NormLayer) -> Trunk:
    """A network of the papers: they have no norms to choose."""
    return build()


def _conv(before: int, after: int, stride: int, norm: NormLayer) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, (norm or nn.BatchNorm2d)(after), nn.ReLU(inplace=True))


_models = torchvision.models

NETWORKS: dict[str, Callable[[NormLayer], Trunk]] = {
    "mobilenet-v2": partial(torchvision_trunk, "mobilenet_v2"),
    "mobilenet-v3-large": partial(torchvision_trunk, "mobilenet_v3_large"),
    "mobilenet-v3-large-top": mobilenet_v3_large_top,
    "resnet18": partial(torchvision_trunk, "resnet18"),
    "resnet34": partial(torchvision_trunk, "resnet34"),
    "resnet50": partial(torchvision_trunk, "resnet50"),
    "resnet101": partial(torchvision_trunk, "resnet101"),
    # their published weights are detectron2's; rcnn.load("detectron2:NAME") reads them
    "resnet50-caffe": partial(caffe_resnet, "resnet50"),
    "resnet101-caffe": partial(caffe_resnet, "resnet101"),
    "small": small,
    "alexnet": partial(paper, papers.alexnet),
    "caffenet": partial(paper, papers.caffenet),
    "vgg-m": partial(paper, papers.vgg_m),
    "vgg16": partial(paper, papers.vgg16),
    "zf": partial(paper, papers.zf),
}
"""Name to a function from a norm layer to the network with random weights; other names are torchvision's or timm's."""

WEIGHTS: dict[str, WeightsEnum] = {
    **{name: _models.get_model_weights(name).DEFAULT for name in _models.list_models(module=_models)},
    "mobilenet-v2": _models.MobileNet_V2_Weights.IMAGENET1K_V2,
    "mobilenet-v3-large": _models.MobileNet_V3_Large_Weights.IMAGENET1K_V2,
    "mobilenet-v3-large-top": _models.MobileNet_V3_Large_Weights.IMAGENET1K_V2,
    "resnet50": _models.ResNet50_Weights.IMAGENET1K_V2,
    "resnet101": _models.ResNet101_Weights.IMAGENET1K_V1,
}
"""Name to torchvision's ImageNet weights, which it downloads once into torch's hub cache."""


def network(name: str, norm: NormLayer = None, channels: int = 3) -> Trunk:
    """The network of that name for pictures of so many channels, with random weights.

    `norm` makes the norm of some channels in the place of batch norm; a network without batch norm keeps what it has.
    Raises ConfigError for a name of timm's that timm does not know, or whose features no detector can read.
    """
    if name in NETWORKS:
        trunk = NETWORKS[name](norm)
    elif name.startswith(PREFIX):
        trunk = _normed(timm_trunk(name), norm)
    else:
        trunk = torchvision_trunk(name, norm)
    widen(trunk, channels)
    return trunk


def has_weights(name: str) -> bool:
    """Whether pretrained weights of a network are published."""
    return has_timm_weights(name) if name.startswith(PREFIX) else name in WEIGHTS
