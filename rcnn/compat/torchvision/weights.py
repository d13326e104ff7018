"""Torchvision's Faster R-CNN models: their weights in this library's network, with the same detections."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import detection as tv

from rcnn import build
from rcnn.backbones import fold_frozen_norm
from rcnn.backbones.classifier import by_cell
from rcnn.backbones.weights import fetch, read_state
from rcnn.compat.fitting import load_exactly, read_from
from rcnn.config import Config, DetectionSettings, HeadSettings, InputSettings, ModelSettings, RPNSettings
from rcnn.errors import WeightsError
from rcnn.inference.predictor import Detector
from rcnn.methods import Method

# A region has at most 19 classes that score above 0.05: with so many candidates nothing is ever cut.
_DETECTIONS = DetectionSettings(candidates=20_000)
_SMALL_ANCHORS = ((32.0, 64.0, 128.0, 256.0, 512.0),) * 3


def _mobilenet(before: int, short: int, long: int) -> Config:
    rpn = RPNSettings(anchor_sizes=_SMALL_ANCHORS, score=0.05, before=before, after=before)
    return Config(
        input=InputSettings(short=short, long=long, bucket="exact32"),
        model=ModelSettings(backbone="mobilenet-v3-large-top", norm="frozen", rpn=rpn, detections=_DETECTIONS),
    )


def _resnet50(model: ModelSettings) -> Config:
    return Config(input=InputSettings(bucket="exact32"), model=model)


CONFIGS = {
    "fasterrcnn_resnet50_fpn": _resnet50(
        ModelSettings(backbone="resnet50", norm="frozen", frozen_stages=1, detections=_DETECTIONS)
    ),
    "fasterrcnn_resnet50_fpn_v2": _resnet50(
        ModelSettings(
            backbone="resnet50",
            norm="frozen",
            neck_norm="frozen",
            frozen_stages=1,
            rpn=RPNSettings(depth=2),
            head=HeadSettings(convs=4, widths=(1024,)),
            detections=_DETECTIONS,
        )
    ),
    "fasterrcnn_mobilenet_v3_large_fpn": _mobilenet(1000, 800, 1333),
    "fasterrcnn_mobilenet_v3_large_320_fpn": _mobilenet(150, 320, 640),
}

WEIGHTS = {
    "fasterrcnn_resnet50_fpn": tv.FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
    "fasterrcnn_resnet50_fpn_v2": tv.FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
    "fasterrcnn_mobilenet_v3_large_fpn": tv.FasterRCNN_MobileNet_V3_Large_FPN_Weights.COCO_V1,
    "fasterrcnn_mobilenet_v3_large_320_fpn": tv.FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.COCO_V1,
}


def load_torchvision(name: str, weights: Path | str | None, device: torch.device, bf16: bool = False) -> Detector:
    """Torchvision's model of that name, with its COCO weights or the state dict in the file `weights`."""
    config, state = config_named(name), _state(name, weights)
    with read_from(weights, name):
        model, class_names = from_state(name, state)
    return Detector(model, build.preprocess(config.input), class_names, device, bf16, config.input.max_pixels)


def from_state(name: str, state: Mapping[str, Tensor]) -> tuple[Method, tuple[str, ...]]:
    """This library's network with the weights of a torchvision state dict, and the names of its classes."""
    try:
        classes = len(state["roi_heads.box_predictor.cls_score.weight"]) - 1
    except KeyError as error:
        raise WeightsError(
            f"{name}: the weights are not those of a torchvision Faster R-CNN ({error} is missing); pass its state dict"
        ) from error
    config = config_named(name)
    norms = {"norm": "batch", "neck_norm": "batch" if config.model.neck_norm == "frozen" else "none"}
    plain = config.model_copy(update={"model": config.model.model_copy(update=norms)})
    model, _ = build.detector(plain, classes)
    _set_epsilon(model, _epsilon(name, state))
    load_exactly(model, name, rename(state))
    fold_frozen_norm(model)
    return build.quickened(model), _class_names(name, classes)


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A torchvision state dict under this library's names, its first layer's columns in this library's order."""
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)  # noqa: PLW2901
        renamed[name] = by_cell(value, 7) if name == "head.layers.fc6.weight" else value
    return renamed


_RENAMES = (
    (r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1"),  # names of torchvision before 0.13
    (r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$", r"\1.0.\2"),
    (r"^roi_heads\.box_head\.(fc\d)\.", r"head.layers.\1."),
    (r"^roi_heads\.box_head\.5\.", r"head.layers.fc6."),
    (r"^roi_heads\.box_head\.(\d)\.", r"head.convs.\1."),
    (r"^roi_heads\.box_predictor\.", r"head."),
)


def _epsilon(name: str, state: Mapping[str, Tensor]) -> float:
    """What torchvision adds to the variances: nothing in its published ResNet-50 (its `overwrite_eps`).

    Those weights have frozen norms, which count no batches; a model trained by a user with ordinary norms does.
    """
    frozen = not any(key.endswith("num_batches_tracked") for key in state)
    return 0.0 if frozen and name == "fasterrcnn_resnet50_fpn" else 1e-5


def _set_epsilon(model: nn.Module, epsilon: float) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = epsilon


def _class_names(name: str, classes: int) -> tuple[str, ...]:
    """COCO's names where the number of classes is COCO's; its unused numbers get names of their own."""
    categories: list[str] = WEIGHTS[name].meta["categories"][1:]
    if len(categories) != classes:
        return tuple(f"class {number}" for number in range(1, classes + 1))
    return tuple(f"unused {n}" if label == "N/A" else label for n, label in enumerate(categories, start=1))


def config_named(name: str) -> Config:
    """The settings of torchvision's model of that name; raises WeightsError for a name that is none."""
    if name not in CONFIGS:
        raise WeightsError(f"torchvision:{name}: not known; choose among {', '.join(CONFIGS)}")
    return CONFIGS[name]


def _state(name: str, weights: Path | str | None) -> Mapping[str, Tensor]:
    if weights is not None:
        return read_state(Path(weights))
    config_named(name)
    return fetch(WEIGHTS[name], f"torchvision:{name}", "--weights FILE (in Python weights=FILE)")
