"""From settings to a detector."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from rcnn.acceleration.convolutions import quicken
from rcnn.anchors import AnchorGrid
from rcnn.backbones import (
    Backbone,
    ImagePyramid,
    LoadReport,
    PyramidBackbone,
    SingleMapBackbone,
    Trunk,
    fold_frozen_norm,
    freeze_norms,
    load_backbone_weights,
    network,
    networks,
)
from rcnn.backbones.classifier import load_fully_connected
from rcnn.backbones.networks import NormLayer, group_norm
from rcnn.backbones.timm_networks import PREFIX
from rcnn.backbones.trunk import split
from rcnn.compression.svd import shape_head
from rcnn.config import Config, InputSettings, ModelSettings
from rcnn.data.preprocess import Preprocess
from rcnn.errors import ConfigError
from rcnn.heads.box_head import BoxHead, LastStage, SVMHead
from rcnn.heads.roi import LevelRule, RoIAlignPool, RoIMaxPool, nearest_scale
from rcnn.heads.spp import SPPPool
from rcnn.inference.predictor import Proposer
from rcnn.methods import RCNN, FasterRCNN, FastRCNN, Method, SPPnet
from rcnn.ops.levels import levels_of
from rcnn.postprocess import Postprocess
from rcnn.proposals.rpn import RPN, ProposalLimits, RPNHead

NORMS: dict[str, NormLayer] = {
    "frozen": None,  # the network's own batch norm, folded into the convolutions once the weights are in
    "batch": None,
    "group": group_norm,
}
C4_STRIDE = 16
"""Where the papers on residual networks cut them in two (He et al., arXiv 1512.03385, appendix A)."""
Model = TypeVar("Model", bound=nn.Module)


def preprocess(settings: InputSettings) -> Preprocess:
    """What happens to a picture before the network."""
    scaling = settings.short, settings.long, settings.bucket
    return Preprocess(*scaling, settings.mean, settings.std, settings.resize, settings.range)


def proposer(config: Config, training: bool = False) -> Proposer | None:
    """Where regions of a picture come from that brings none; None for a method that makes its own."""
    if config.model.method == "faster-rcnn":
        return None
    settings = config.model.proposals
    most = max(settings.train, settings.test) if training else settings.test
    return Proposer(settings.mode, most, config.input.max_pixels)


def has_weights(settings: ModelSettings, given: Path | str | None) -> bool:
    """Whether a backbone begins with pretrained weights: those `given`, or torchvision's where it has some."""
    return str(given) != "none" and (given is not None or networks.has_weights(settings.backbone))


def resolved(config: Config, pretrained: bool) -> Config:
    """The configuration with every `auto` that shapes the network decided, as it is stored with a model."""
    if config.model.norm != "auto":
        return config
    model = config.model.model_copy(update={"norm": "frozen" if pretrained else "group"})
    return config.model_copy(update={"model": model})


def detector(
    config: Config, classes: int, weights: Path | None = None, pretrained: bool = False
) -> tuple[Method, LoadReport | None]:
    """The network for `classes` classes, its backbone pretrained if asked for (from `weights` or torchvision)."""
    settings = config.model
    body = network(settings.backbone, NORMS[settings.norm], config.input.channels)
    report = load_backbone_weights(body, settings.backbone, weights) if pretrained else None
    if settings.norm == "frozen":
        _freeze_norms(body, settings.backbone)
    body, stage = _cut(body, settings)
    body.freeze(settings.frozen_stages)
    model = assemble(_with_neck(body, settings, config.input.short), settings, classes, stage)
    if settings.neck_norm == "frozen":
        for part in (getattr(model.backbone, "fpn", None), model.head.convs):
            fold_frozen_norm(part or nn.Module())
    if pretrained and settings.head.pretrained:
        load_fully_connected(model.head.layers, settings.backbone, weights)
    shape_head(model.head, settings.head.ranks)
    return quickened(model), report


def _freeze_norms(body: Trunk, name: str) -> None:
    """Batch norm as it is: within the convolution before it, where there is one that is known to be there."""
    if not name.startswith(PREFIX):
        fold_frozen_norm(body)
    freeze_norms(body)


def _cut(body: Trunk, settings: ModelSettings) -> tuple[Trunk, LastStage | None]:
    """The network that all regions of a picture share, and what of it each goes through by itself."""
    if settings.neck != "c4":
        return body, None
    parts = split(body, C4_STRIDE)
    if parts is None:
        raise ConfigError(
            f"model.neck: c4 cuts a network after its map at stride {C4_STRIDE}, and {settings.backbone} cannot be; "
            "choose a ResNet, or neck=none"
        )
    front, layers = parts
    return front, LastStage(layers, body.channels[-1], body.strides[-1] // C4_STRIDE)


def quickened(model: Model) -> Model:
    """The network with quick convolutions, and its weights laid out as the processors' convolutions want them."""
    quicken(model)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def assemble(backbone: Backbone, settings: ModelSettings, classes: int, stage: LastStage | None = None) -> Method:
    """The rest of the detector on a backbone; `stage` is what of the network each region goes through by itself."""
    head, last = _head(backbone, settings, classes, stage), _postprocess(settings)
    match settings.method:
        case "rcnn":
            crops = settings.head
            if crops.crop <= 2 * crops.context:
                raise ConfigError(
                    f"model.head.context: {crops.context} pixels on each side leave nothing of a crop of {crops.crop}; "
                    "give less than half of model.head.crop"
                )
            return RCNN(backbone, head, last, crops.crop, crops.context, crops.pool, crops.chunk)
        case "sppnet":
            return SPPnet(backbone, SPPPool(backbone.strides, _level_rule(backbone), settings.head.bins), head, last)
        case "fast-rcnn":
            return FastRCNN(backbone, _pool(backbone, settings), head, last)
        case _:
            rpn, limits = _rpn(backbone, settings)
            return FasterRCNN(backbone, rpn, _pool(backbone, settings), head, limits, last)


def _with_neck(body: Trunk, settings: ModelSettings, short: int) -> Backbone:
    """The convolutional network as the method reads it."""
    if settings.neck == "fpn":
        if settings.image_scales:
            raise ConfigError("model.image_scales: a feature pyramid has scales of its own; pass model.neck=none")
        _refuse_odd_strides(body, settings.backbone)
        return PyramidBackbone(body, settings.channels, _neck_norm(settings))
    single = SingleMapBackbone(body)
    if not settings.image_scales:
        return single
    if settings.method in ("rcnn", "faster-rcnn") or max(settings.image_scales) != short:
        raise ConfigError(
            f"model.image_scales: {list(settings.image_scales)} serve SPPnet and Fast R-CNN, and the largest must be "
            f"input.short, which is {short}"
        )
    return ImagePyramid(single, [scale / short for scale in settings.image_scales])


def _refuse_odd_strides(body: Trunk, name: str) -> None:
    """Raise ConfigError for a network of timm's whose maps are no pyramid."""
    if name.startswith(PREFIX) and any(after != 2 * before for before, after in pairwise(body.strides)):
        raise ConfigError(
            f"model.backbone: {name}'s strides {', '.join(map(str, body.strides))} do not double; pass model.neck=none"
        )


def _neck_norm(settings: ModelSettings) -> type[nn.Module] | None:
    return None if settings.neck_norm == "none" else nn.BatchNorm2d


def _head(backbone: Backbone, settings: ModelSettings, classes: int, stage: LastStage | None) -> BoxHead:
    head = settings.head
    cells = sum(n * n for n in head.bins) if settings.method == "sppnet" else head.pool**2
    channels = backbone.channels
    if stage is not None:
        cells, channels = (-(-head.pool // stage.stride)) ** 2, stage.channels
    sizes = (channels, cells, classes)
    common = {
        "widths": head.widths,
        "convs": head.convs,
        "norm": _neck_norm(settings),
        "dropout": head.dropout,
        "average": head.average,
        "weights": head.box_weights,
        "measured": head.measured_boxes,
        "small_start": head.small_start,
    }
    if head.classifier == "svm":
        return SVMHead(*sizes, ridge=head.ridge, **common)
    return BoxHead(*sizes, **common, stage=stage and stage.layers)  # type: ignore[arg-type]


def _level_rule(backbone: Backbone) -> LevelRule:
    """Which level a region is read from: by its size on a pyramid of features, by 224 x 224 on one of pictures."""
    if isinstance(backbone, ImagePyramid):
        return partial(nearest_scale, factors=backbone.factors)
    return partial(levels_of, strides=backbone.strides)


def _pool(backbone: Backbone, settings: ModelSettings) -> RoIAlignPool | RoIMaxPool:
    head, rule = settings.head, _level_rule(backbone)
    if head.pooling == "max":
        return RoIMaxPool(backbone.strides, rule, head.pool)
    return RoIAlignPool(backbone.strides, rule, head.pool, head.sampling, head.aligned)


def _rpn(backbone: Backbone, settings: ModelSettings) -> tuple[RPN, ProposalLimits]:
    rpn, levels = settings.rpn, len(backbone.strides) + backbone.extra_levels
    if len(rpn.anchor_sizes) != levels:
        raise ConfigError(
            f"model.rpn.anchor_sizes: {len(rpn.anchor_sizes)} levels, but the backbone has {levels}; "
            "give sizes for each"
        )
    strides = [*backbone.strides, *(backbone.strides[-1] * 2**n for n in range(1, backbone.extra_levels + 1))]
    exact = rpn.anchor_grid == "detectron2"
    grid = AnchorGrid(rpn.anchor_sizes, rpn.anchor_ratios, strides if exact else ())
    network = RPN(RPNHead(backbone.channels, grid.per_cell, rpn.depth, rpn.width), grid)
    return network, ProposalLimits(rpn.before, rpn.after, rpn.score, rpn.nms, rpn.side)


def _postprocess(settings: ModelSettings) -> Postprocess:
    last = settings.detections
    return Postprocess(last.score, last.nms, last.maximum, last.candidates, last.per_class, last.refine)
