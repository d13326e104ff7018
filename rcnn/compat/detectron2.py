"""Detectron2's Faster R-CNN models: their weights in this library's network, with the same detections."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models import detection as tv

from rcnn import build
from rcnn.backbones import fold_frozen_norm
from rcnn.backbones.classifier import by_cell
from rcnn.backbones.weights import read_state
from rcnn.compat.fitting import Rename, load_exactly, read_from, renamed_by
from rcnn.compat.pickled import read_arrays
from rcnn.config import Config, DetectionSettings, HeadSettings, InputSettings, ModelSettings, RPNSettings
from rcnn.errors import WeightsError
from rcnn.inference.predictor import Detector
from rcnn.methods import Method
from rcnn.model_files import kind_of

_COLOUR = (123.675 / 255, 116.28 / 255, 103.53 / 255)
"""What is subtracted from red, green and blue; levels stay between 0 and 255, for the networks came from Caffe."""
_INPUT = InputSettings(mean=_COLOUR, std=(1 / 255,) * 3, resize="pillow", bucket="exact32")
# A region has at most 19 classes that score above 0.05: with so many candidates nothing is ever cut.
_DETECTIONS = DetectionSettings(candidates=20_000)


def _pyramid(backbone: str) -> Config:
    rpn = RPNSettings(anchor_grid="detectron2", train_after=1000)
    head = HeadSettings(sampling=0, aligned=True)
    model = {"rpn": rpn, "head": head, "detections": _DETECTIONS, "norm": "frozen", "frozen_stages": 1}
    return Config(input=_INPUT, model=ModelSettings(backbone=backbone, **model))  # type: ignore[arg-type]


def _c4(backbone: str) -> Config:
    # Detectron2 pads nothing where there is no pyramid: a picture's canvas is its own size.
    rpn = RPNSettings(
        anchor_grid="detectron2",
        anchor_sizes=((32, 64, 128, 256, 512),),
        **{"before": 6000, "train_before": 12000, "train_after": 2000},  # type: ignore[arg-type]
    )
    head = HeadSettings(pool=14, sampling=0, aligned=True, average=True, widths=())
    model = {"rpn": rpn, "head": head, "detections": _DETECTIONS, "norm": "frozen", "frozen_stages": 1}
    canvas = _INPUT.model_copy(update={"bucket": "exact"})
    return Config(input=canvas, model=ModelSettings(backbone=backbone, neck="c4", **model))  # type: ignore[arg-type]


CONFIGS = {
    "COCO-Detection/faster_rcnn_R_50_C4_1x": _c4("resnet50-caffe"),
    "COCO-Detection/faster_rcnn_R_50_C4_3x": _c4("resnet50-caffe"),
    "COCO-Detection/faster_rcnn_R_101_C4_3x": _c4("resnet101-caffe"),
    "COCO-Detection/faster_rcnn_R_50_FPN_1x": _pyramid("resnet50-caffe"),
    "COCO-Detection/faster_rcnn_R_50_FPN_3x": _pyramid("resnet50-caffe"),
    "COCO-Detection/faster_rcnn_R_101_FPN_3x": _pyramid("resnet101-caffe"),
}
"""By the name in detectron2's model zoo."""

PREFIX = "detectron2:"


def load_detectron2(name: str, weights: Path | str | None, device: torch.device, bf16: bool = False) -> Detector:
    """The model zoo's detector of that name, with the weights in a file: its `.pkl`, or a `.pth` of one's own."""
    config = config_named(name)
    if weights is None:
        raise WeightsError(
            f"{PREFIX}{name}: is never downloaded; pass its model_final_....pkl with --weights FILE "
            "(in Python weights=FILE)"
        )
    state = _read(Path(weights))
    with read_from(weights, name):
        model, class_names = from_state(name, state)
    numbers = _coco_numbers() if len(class_names) == len(_coco_numbers()) else {}
    return Detector(
        model, build.preprocess(config.input), class_names, device, bf16, config.input.max_pixels, category_ids=numbers
    )


def from_state(name: str, state: Mapping[str, Tensor]) -> tuple[Method, tuple[str, ...]]:
    """This library's network with the weights of a detectron2 state dict, and the names of its classes."""
    config = config_named(name)
    try:
        classes = len(state["roi_heads.box_predictor.cls_score.weight"]) - 1
    except KeyError as error:
        raise WeightsError(
            f"{name}: the weights are not those of a detectron2 Faster R-CNN ({error} is missing); pass its file"
        ) from error
    plain = config.model_copy(update={"model": config.model.model_copy(update={"norm": "batch"})})
    model, _ = build.detector(plain, classes)
    load_exactly(model, name, rename(state))
    fold_frozen_norm(model)
    coco = tuple(_coco_numbers())
    names = coco if len(coco) == classes else tuple(f"class {number}" for number in range(1, classes + 1))
    return build.quickened(model), names


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A detectron2 state dict under this library's names and in its order.

    Colours come as red, green, blue; the background is the first class, not the last, and has deltas too, which
    nothing reads; the first layer's columns are cell by cell.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        if not name.startswith(("pixel_", "proposal_generator.anchor_generator.")):
            own = renamed_by(name, _RENAMES)
            renamed[own] = _REORDERED[own](value) if own in _REORDERED else value
    return renamed if "head.layers.fc6.weight" in renamed else _by_ratio(renamed)


def _by_ratio(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The RPN of one level with anchors ordered by their ratios first, not by their sizes."""
    sizes, ratios = 5, 3
    anchors = len(state.get("rpn.head.cls_logits.bias", ()))
    if anchors != sizes * ratios:
        raise WeightsError(
            f"the weights' RPN has {anchors} anchors a cell, not the zoo's {sizes * ratios}; pass others"
        )
    order = torch.arange(sizes * ratios).view(sizes, ratios).T.flatten()
    changed = dict(state)
    for layer, each in (("cls_logits", 1), ("bbox_pred", 4)):
        for kind in ("weight", "bias"):
            key = f"rpn.head.{layer}.{kind}"
            changed[key] = state[key].unflatten(0, (-1, each))[order].flatten(0, 1)
    return changed


_REORDERED: dict[str, Callable[[Tensor], Tensor]] = {
    "backbone.body.conv1.weight": lambda weight: weight.flip(1),
    "head.layers.fc6.weight": lambda weight: by_cell(weight, 7),
    "head.cls_score.weight": lambda weight: weight.roll(1, 0),
    "head.cls_score.bias": lambda bias: bias.roll(1, 0),
    "head.bbox_pred.weight": lambda weight: torch.cat((torch.zeros_like(weight[:4]), weight)),
    "head.bbox_pred.bias": lambda bias: torch.cat((torch.zeros_like(bias[:4]), bias)),
}

_RENAMES: tuple[Rename, ...] = (
    (r"^backbone\.(stem|res\d)\.", r"backbone.bottom_up.\1."),  # without a pyramid there is no word for it
    (r"^roi_heads\.res5\.", "head.stage.layer4."),
    (r"^backbone\.bottom_up\.stem\.", "backbone.body."),
    (r"^backbone\.bottom_up\.res(\d)\.", lambda found: f"backbone.body.layer{int(found[1]) - 1}."),
    (r"\.shortcut\.norm\.", ".downsample.1."),
    (r"\.shortcut\.", ".downsample.0."),
    (r"\.conv(\d)\.norm\.", r".bn\1."),
    (r"^backbone\.fpn_lateral(\d)\.", lambda found: f"backbone.fpn.inner_blocks.{int(found[1]) - 2}.0."),
    (r"^backbone\.fpn_output(\d)\.", lambda found: f"backbone.fpn.layer_blocks.{int(found[1]) - 2}.0."),
    (r"^proposal_generator\.rpn_head\.conv\.", "rpn.head.conv.0.0."),
    (r"^proposal_generator\.rpn_head\.objectness_logits\.", "rpn.head.cls_logits."),
    (r"^proposal_generator\.rpn_head\.anchor_deltas\.", "rpn.head.bbox_pred."),
    (r"^roi_heads\.box_head\.fc(\d)\.", lambda found: f"head.layers.fc{int(found[1]) + 5}."),
    (r"^roi_heads\.box_predictor\.", "head."),
)


def _read(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".pkl" and not (path.is_file() and kind_of(path) == "archive"):
        return {name: torch.from_numpy(array.copy()) for name, array in read_arrays(path).items()}
    return read_state(path)


def _coco_numbers() -> dict[str, int]:
    """COCO's 80 class names with the numbers that they have in its files."""
    names: list[str] = tv.FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    return {name: number for number, name in enumerate(names) if name not in ("__background__", "N/A")}


def config_named(name: str) -> Config:
    """The settings of detectron2's model of that name; raises WeightsError for a name that is none."""
    if name not in CONFIGS:
        raise WeightsError(f"{PREFIX}{name}: not known; choose among {', '.join(CONFIGS)}")
    return CONFIGS[name]
