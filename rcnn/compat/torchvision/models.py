"""Torchvision's functions, under their names and arguments: a script runs faster by changing one import.

from rcnn.compat.torchvision import fasterrcnn_resnet50_fpn  # instead of torchvision.models.detection
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torchvision import models as tv_models
from torchvision.models import WeightsEnum

from rcnn import build
from rcnn.backbones import fold_frozen_norm
from rcnn.backbones.weights import fetch, fill
from rcnn.compat.torchvision.module import TorchvisionDetector
from rcnn.compat.torchvision.weights import CONFIGS, WEIGHTS, from_state
from rcnn.config import Config
from rcnn.errors import ConfigError
from rcnn.presets.overrides import override

_BACKBONES: Mapping[str, type[WeightsEnum]] = {
    "fasterrcnn_resnet50_fpn": tv_models.ResNet50_Weights,
    "fasterrcnn_resnet50_fpn_v2": tv_models.ResNet50_Weights,
    "fasterrcnn_mobilenet_v3_large_fpn": tv_models.MobileNet_V3_Large_Weights,
    "fasterrcnn_mobilenet_v3_large_320_fpn": tv_models.MobileNet_V3_Large_Weights,
}
_MOST_LAYERS = {"fasterrcnn_resnet50_fpn": 5, "fasterrcnn_resnet50_fpn_v2": 5}
ARGUMENTS = {
    "image_mean": "input.mean",
    "image_std": "input.std",
    "max_size": "input.long",
    "rpn_pre_nms_top_n_train": "model.rpn.train_before",
    "rpn_pre_nms_top_n_test": "model.rpn.before",
    "rpn_post_nms_top_n_train": "model.rpn.train_after",
    "rpn_post_nms_top_n_test": "model.rpn.after",
    "rpn_nms_thresh": "model.rpn.nms",
    "rpn_fg_iou_thresh": "model.rpn.positive_iou",
    "rpn_bg_iou_thresh": "model.rpn.negative_iou",
    "rpn_batch_size_per_image": "model.rpn.samples",
    "rpn_positive_fraction": "model.rpn.positive_fraction",
    "rpn_score_thresh": "model.rpn.score",
    "box_score_thresh": "model.detections.score",
    "box_nms_thresh": "model.detections.nms",
    "box_detections_per_img": "model.detections.maximum",
    "box_fg_iou_thresh": "model.head.positive_iou",
    "box_bg_iou_thresh": "model.head.negative_iou",
    "box_batch_size_per_image": "model.head.samples",
    "box_positive_fraction": "model.head.positive_fraction",
    "bbox_reg_weights": "model.head.box_weights",
}
"""Torchvision's arguments, and the settings that they are here."""


def _model(
    name: str,
    *,
    weights: WeightsEnum | str | None = None,
    progress: bool = True,  # torchvision's; the download is quiet
    num_classes: int | None = None,
    weights_backbone: WeightsEnum | str | None = "IMAGENET1K_V1",
    trainable_backbone_layers: int | None = None,
    min_size: int | Sequence[int] | None = None,
    **settings: Any,
) -> TorchvisionDetector:
    """As torchvision's function of the same name; `num_classes` counts the background. `weights`: COCO's, or none.

    Where neither `weights` nor `weights_backbone` are given, batch norm learns, else it is frozen. Raises ConfigError
    for an argument that this library has no setting for, WeightsError where weights cannot be had.
    """
    sides = (min_size,) if isinstance(min_size, int) else tuple(min_size or ())
    config = _configured(name, sides, settings)
    if weights is not None:
        known = WEIGHTS[name]
        if num_classes not in (None, len(known.meta["categories"])):
            raise ConfigError(f"num_classes: {num_classes}, but {name}'s weights have {len(known.meta['categories'])}")
        model, _ = from_state(name, fetch(known, name, "weights=None"))
    else:
        model = _untrained(name, config, (num_classes or 91) - 1, weights_backbone)
    pretrained = weights is not None or weights_backbone is not None
    layers = 3 if trainable_backbone_layers is None and pretrained else trainable_backbone_layers
    if layers is not None and name in _MOST_LAYERS:  # of its stem and four stages, the last so many learn
        model.backbone.body.freeze(max(0, 4 - layers))  # type: ignore[union-attr, operator]
    return TorchvisionDetector(model, config, sides or (config.input.short,))


def _configured(name: str, sides: Sequence[int], settings: Mapping[str, Any]) -> Config:
    """The configuration with torchvision's arguments for settings."""
    if unknown := [key for key in settings if key not in ARGUMENTS]:
        raise ConfigError(f"{unknown[0]}: {name} takes no such argument here; known are {', '.join(ARGUMENTS)}")
    given = {ARGUMENTS[key]: value for key, value in settings.items() if value is not None}
    if sides:
        given["input.short"] = sides[-1]
    return override(CONFIGS[name], None, (), given)


def _untrained(name: str, config: Config, classes: int, weights: WeightsEnum | str | None) -> Any:
    """The network with random heads, its backbone with ImageNet's weights if asked for."""
    neck = "batch" if config.model.neck_norm == "frozen" else "none"
    update: dict[str, Any] = {"norm": "batch", "neck_norm": neck, "frozen_stages": 0}
    plain = config.model_copy(update={"model": config.model.model_copy(update=update)})
    model, _ = build.detector(plain, classes)
    if weights is not None:
        known = _BACKBONES[name]
        chosen = known[weights] if isinstance(weights, str) and weights != "DEFAULT" else known.DEFAULT  # type: ignore[attr-defined]
        chosen = weights if isinstance(weights, WeightsEnum) else chosen
        body = model.backbone.body  # type: ignore[union-attr]
        fill(body, config.model.backbone, fetch(chosen, config.model.backbone, "weights_backbone=None"), str(chosen))
        fold_frozen_norm(body)
    return build.quickened(model)


Build = Callable[..., TorchvisionDetector]
fasterrcnn_resnet50_fpn: Build = partial(_model, "fasterrcnn_resnet50_fpn")
fasterrcnn_resnet50_fpn_v2: Build = partial(_model, "fasterrcnn_resnet50_fpn_v2")
fasterrcnn_mobilenet_v3_large_fpn: Build = partial(_model, "fasterrcnn_mobilenet_v3_large_fpn")
fasterrcnn_mobilenet_v3_large_320_fpn: Build = partial(_model, "fasterrcnn_mobilenet_v3_large_320_fpn")
