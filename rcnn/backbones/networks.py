"""Classification networks, cut into the stages whose outputs a detector reads."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import gcd

import torchvision
from torch import nn

from rcnn.backbones import papers
from rcnn.backbones.trunk import Trunk


def group_norm(channels: int) -> nn.GroupNorm:
    """The norm for training from random weights: small batches and padding spoil a batch norm's statistics."""
    return nn.GroupNorm(gcd(32, channels), channels)


NormLayer = Callable[[int], nn.Module] | None
"""Makes the norm of some channels; None for the network's usual one."""


def resnet(build: Callable[..., nn.Module], channels: Sequence[int], norm: NormLayer) -> Trunk:
    """A ResNet without its pooling and classifier; taps at strides 4, 8, 16, 32."""
    layers = dict(build(norm_layer=norm).named_children())
    del layers["avgpool"], layers["fc"]
    return Trunk(layers, ("layer1", "layer2", "layer3", "layer4"), channels)


def caffe_resnet(build: Callable[..., nn.Module], channels: Sequence[int], norm: NormLayer) -> Trunk:
    """A ResNet as first published: a stage halves the map in its first 1x1 convolution, not in its 3x3 one."""
    trunk = resnet(build, channels, norm)
    for stage in ("layer2", "layer3", "layer4"):
        first = trunk.get_submodule(f"{stage}.0")
        first.conv1.stride, first.conv2.stride = first.conv2.stride, first.conv1.stride  # type: ignore[assignment]
    return trunk


def mobilenet(
    build: Callable[..., nn.Module],
    taps: Sequence[str],
    channels: Sequence[int],
    strides: Sequence[int],
    norm: NormLayer,
) -> Trunk:
    """A MobileNet's `features`; the taps stand just before the next reduction."""
    features: nn.Module = build(norm_layer=norm).features  # type: ignore[assignment]
    return Trunk(dict(features.named_children()), taps, channels, strides)


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
_HALVING = (4, 8, 16, 32)
_BASIC, _DEEP = (64, 128, 256, 512), (256, 512, 1024, 2048)

NETWORKS: dict[str, Callable[[NormLayer], Trunk]] = {
    "mobilenet-v2": partial(mobilenet, _models.mobilenet_v2, ("3", "6", "13", "18"), (24, 32, 96, 1280), _HALVING),
    "mobilenet-v3-large": partial(
        mobilenet, _models.mobilenet_v3_large, ("3", "6", "12", "16"), (24, 40, 112, 960), _HALVING
    ),
    # torchvision's detectors read MobileNetV3 at its last stage alone: cheap, and blind to small objects
    "mobilenet-v3-large-top": partial(mobilenet, _models.mobilenet_v3_large, ("13", "16"), (160, 960), (32, 32)),
    "resnet18": partial(resnet, _models.resnet18, _BASIC),
    "resnet34": partial(resnet, _models.resnet34, _BASIC),
    "resnet50": partial(resnet, _models.resnet50, _DEEP),
    "resnet101": partial(resnet, _models.resnet101, _DEEP),
    # their published weights are detectron2's; rcnn.load("detectron2:NAME") reads them
    "resnet50-caffe": partial(caffe_resnet, _models.resnet50, _DEEP),
    "resnet101-caffe": partial(caffe_resnet, _models.resnet101, _DEEP),
    "small": small,
    "alexnet": partial(paper, papers.alexnet),
    "caffenet": partial(paper, papers.caffenet),
    "vgg-m": partial(paper, papers.vgg_m),
    "vgg16": partial(paper, papers.vgg16),
    "zf": partial(paper, papers.zf),
}
"""Name to a function from a norm layer to the network with random weights."""

WEIGHTS = {
    "mobilenet-v2": _models.MobileNet_V2_Weights.IMAGENET1K_V2,
    "mobilenet-v3-large": _models.MobileNet_V3_Large_Weights.IMAGENET1K_V2,
    "mobilenet-v3-large-top": _models.MobileNet_V3_Large_Weights.IMAGENET1K_V2,
    "resnet18": _models.ResNet18_Weights.IMAGENET1K_V1,
    "resnet34": _models.ResNet34_Weights.IMAGENET1K_V1,
    "resnet50": _models.ResNet50_Weights.IMAGENET1K_V2,
    "resnet101": _models.ResNet101_Weights.IMAGENET1K_V2,
    "alexnet": _models.AlexNet_Weights.IMAGENET1K_V1,
    "vgg16": _models.VGG16_Weights.IMAGENET1K_V1,
}
"""Name to torchvision's ImageNet weights, which it downloads once into torch's hub cache."""
