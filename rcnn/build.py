"""From a configuration to objects: the only place that knows both."""

from pathlib import Path

import torch
from torch import nn

from rcnn.anchors import AnchorGrid
from rcnn.backbones import NETWORKS, LoadReport, PyramidBackbone, fold_frozen_norm, load_backbone_weights
from rcnn.backbones.networks import WEIGHTS, NormLayer, group_norm
from rcnn.config import Config, InputSettings, ModelSettings, TrainingSettings
from rcnn.data.loader import Augment
from rcnn.data.preprocess import Preprocess
from rcnn.errors import ConfigError
from rcnn.heads.box_head import BoxHead
from rcnn.heads.roi import RoIAlignPool
from rcnn.methods.faster_rcnn import FasterRCNN
from rcnn.postprocess import Postprocess
from rcnn.proposals.rpn import RPN, ProposalLimits, RPNHead
from rcnn.training.objectives import JointObjective, JointSettings, Sampling
from rcnn.training.optim import OptimizerSettings, Schedule

NORMS: dict[str, NormLayer] = {
    "frozen": None,  # the network's own batch norm, folded into the convolutions once the weights are in
    "batch": None,
    "group": group_norm,
}


def preprocess(settings: InputSettings) -> Preprocess:
    """What happens to a picture before the network."""
    return Preprocess(settings.short, settings.long, settings.bucket, settings.mean, settings.std)


def has_weights(settings: ModelSettings, given: Path | str | None) -> bool:
    """Whether a backbone begins with pretrained weights: those `given`, or torchvision's where it has some."""
    return str(given) != "none" and (given is not None or settings.backbone in WEIGHTS)


def resolved(config: Config, pretrained: bool) -> Config:
    """The configuration with every `auto` that shapes the network decided, as it is stored with a model."""
    if config.model.norm != "auto":
        return config
    model = config.model.model_copy(update={"norm": "frozen" if pretrained else "group"})
    return config.model_copy(update={"model": model})


def detector(
    settings: ModelSettings, classes: int, weights: Path | None = None, pretrained: bool = False
) -> tuple[FasterRCNN, LoadReport | None]:
    """The network for `classes` classes, its backbone pretrained if asked for (from `weights` or torchvision)."""
    body = NETWORKS[settings.backbone](NORMS[settings.norm])
    report = load_backbone_weights(body, settings.backbone, weights) if pretrained else None
    if settings.norm == "frozen":
        fold_frozen_norm(body)
    body.freeze(settings.frozen_stages)
    neck_norm = None if settings.neck_norm == "none" else nn.BatchNorm2d
    model = assemble(PyramidBackbone(body, settings.channels, neck_norm), settings, classes)
    if settings.neck_norm == "frozen":
        fold_frozen_norm(model)
    return channels_last(model), report


def channels_last(model: FasterRCNN) -> FasterRCNN:
    """The network with its weights laid out as the processors' convolutions want them."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def assemble(backbone: PyramidBackbone, settings: ModelSettings, classes: int) -> FasterRCNN:
    """The rest of the detector on a backbone."""
    rpn, head, detections = settings.rpn, settings.head, settings.detections
    if len(rpn.anchor_sizes) != len(backbone.strides) + 1:
        raise ConfigError(
            f"model.rpn.anchor_sizes: {len(rpn.anchor_sizes)} levels, but the pyramid has "
            f"{len(backbone.strides) + 1}; give sizes for each"
        )
    neck_norm = None if settings.neck_norm == "none" else nn.BatchNorm2d
    grid = AnchorGrid(rpn.anchor_sizes, rpn.anchor_ratios)
    return FasterRCNN(
        backbone,
        RPN(RPNHead(backbone.channels, grid.per_cell, rpn.depth), grid),
        RoIAlignPool(backbone.strides, head.pool, head.sampling, head.aligned),
        BoxHead(backbone.channels, head.pool, classes, head.width, head.convs, head.layers, neck_norm),
        ProposalLimits(rpn.before, rpn.after, rpn.score, rpn.nms),
        Postprocess(detections.score, detections.nms, detections.maximum, detections.candidates, head.box_weights),
    )


def objective(model: FasterRCNN, config: Config) -> JointObjective:
    """What training minimises."""
    rpn, head = config.model.rpn, config.model.head
    return JointObjective(
        model,
        JointSettings(
            rpn=Sampling(rpn.samples, rpn.positive_fraction, rpn.positive_iou, rpn.negative_iou, best_match=True),
            rois=Sampling(
                head.samples, head.positive_fraction, head.positive_iou, head.negative_iou, head.negative_low
            ),
            limits=ProposalLimits(rpn.train_before, rpn.train_after, rpn.score, rpn.nms),
            train_difficult=config.training.train_difficult,
        ),
    )


def augment(settings: TrainingSettings) -> Augment:
    """How pictures vary in training."""
    return Augment(settings.flip, settings.scales)


def optimizer_settings(settings: TrainingSettings) -> OptimizerSettings:
    """The optimizer, its rate scaled to the pictures that one step sees."""
    pictures = settings.batch * settings.accumulate
    lr = settings.lr * pictures / 16 if settings.optimizer == "sgd" else settings.lr
    return OptimizerSettings(settings.optimizer, lr, settings.momentum, settings.weight_decay)


def schedule(settings: TrainingSettings, steps: int) -> Schedule:
    """The rate over a run of `steps`."""
    drops = settings.drops if settings.schedule == "step" else None
    return Schedule(steps, min(settings.warmup, steps // 2), drops)
