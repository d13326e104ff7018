"""Prediction against detectron2's Faster R-CNN, where that is installed: the same weights, the same pictures.

The weights are those of torchvision's detector of the same shape, which finds things, under detectron2's names.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from rcnn import build
from rcnn.bench.calibrated import calibrated, resized
from rcnn.bench.harness import Case, Way
from rcnn.bench.pictures import photo
from rcnn.bench.predict import ALIKE, SAME, found, precisions, share_of, untrained
from rcnn.compat.detectron2 import CONFIGS, from_state
from rcnn.errors import ConfigError
from rcnn.inference.predictor import Detector
from rcnn.structures import Detections

Picture = UInt8[np.ndarray, "H W 3"]
PYRAMID = "COCO-Detection/faster_rcnn_R_50_FPN_3x"
SIZE = (800, 1216)
Sides = tuple[int, int]
"""The short side of a resized picture, and the longest that its long side may be, in pixels."""


def cases(device: torch.device) -> Iterator[Case]:
    """One picture at a time by the zoo's usual model, as `rcnn bench predict` has torchvision's."""
    refuse_missing()
    pictures = [photo(*SIZE, seed=1)]
    state = random_state(20, pictures[0])
    theirs = shipped(PYRAMID, state, device)
    detectors = {bf16: detector_of(PYRAMID, state, device, bf16) for bf16 in precisions(device)}
    ways = [Way("detectron2", partial(detectron2s, theirs, pictures))]
    ways += [Way(f"rcnn{', bf16' * bf16}", partial(found, one, pictures)) for bf16, one in detectors.items()]

    def check() -> str:
        expected = detectron2s(theirs, pictures)
        return "; ".join(_agreement(one, pictures, expected) for one in detectors.values())

    counts = {"detections": sum(map(len, detectron2s(theirs, pictures)))}
    yield Case(f"predict, detectron2's {PYRAMID.partition('/')[2]}, {SIZE[0]} x {SIZE[1]}", ways, check, counts)


def refuse_missing() -> None:
    """Raise ConfigError where detectron2 is not installed."""
    try:
        import detectron2  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "--against detectron2: is not installed; build it (its INSTALL.md says how), or leave --against out"
        ) from error


def random_state(classes: int, picture: Picture, sides: Sides = (800, 1333)) -> dict[str, Tensor]:
    """Weights for R-50 and its pyramid that find objects of many classes in such a picture, named as detectron2's."""
    plain = resized(untrained("fasterrcnn_resnet50_fpn", classes), *sides)
    return renamed(calibrated(plain, [picture]).state_dict())


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Torchvision's state dict as detectron2 has it: blue, green, red to 255; the background last, without deltas."""
    spread = torch.tensor((0.229, 0.224, 0.225))[:, None, None] * 255
    changes: Mapping[str, Callable[[Tensor], Tensor]] = {
        "backbone.body.conv1.weight": lambda weight: (weight / spread).flip(1),
        "roi_heads.box_predictor.cls_score.weight": lambda weight: weight.roll(-1, 0),
        "roi_heads.box_predictor.cls_score.bias": lambda bias: bias.roll(-1, 0),
        "roi_heads.box_predictor.bbox_pred.weight": lambda weight: weight[4:],
        "roi_heads.box_predictor.bbox_pred.bias": lambda bias: bias[4:],
    }
    kept = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    return {_their_name(name): changes[name](value) if name in changes else value for name, value in kept.items()}


_RENAMES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^backbone\.body\.layer(\d)\.", lambda found: f"backbone.bottom_up.res{int(found[1]) + 1}."),
    (r"^backbone\.body\.", "backbone.bottom_up.stem."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
    (r"\.bn(\d)\.", r".conv\1.norm."),
    (r"^backbone\.fpn\.inner_blocks\.(\d)\.0\.", lambda found: f"backbone.fpn_lateral{int(found[1]) + 2}."),
    (r"^backbone\.fpn\.layer_blocks\.(\d)\.0\.", lambda found: f"backbone.fpn_output{int(found[1]) + 2}."),
    (r"^rpn\.head\.conv\.0\.0\.", "proposal_generator.rpn_head.conv."),
    (r"^rpn\.head\.cls_logits\.", "proposal_generator.rpn_head.objectness_logits."),
    (r"^rpn\.head\.bbox_pred\.", "proposal_generator.rpn_head.anchor_deltas."),
    (r"^roi_heads\.box_head\.fc(\d)\.", lambda found: f"roi_heads.box_head.fc{int(found[1]) - 5}."),
)


def _their_name(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def detector_of(
    name: str, state: Mapping[str, Tensor], device: torch.device, bf16: bool = False, sides: Sides = (800, 1333)
) -> Detector:
    """This library's detector with weights of detectron2's, for pictures of a short and at most a long side."""
    model, class_names = from_state(name, state)
    settings = CONFIGS[name].input.model_copy(update={"short": sides[0], "long": sides[1]})
    return Detector(model, build.preprocess(settings), class_names, device, bf16).settled()


def shipped(name: str, state: Mapping[str, Tensor], device: torch.device, sides: Sides = (800, 1333)) -> Any:
    """Detectron2's predictor of that name, with weights for as many classes as they have."""
    from detectron2 import model_zoo
    from detectron2.config import get_cfg
    from detectron2.engine import DefaultPredictor

    logging.getLogger("detectron2").setLevel(logging.ERROR)
    settings = get_cfg()
    settings.merge_from_file(model_zoo.get_config_file(f"{name}.yaml"))
    settings.MODEL.ROI_HEADS.NUM_CLASSES = len(state["roi_heads.box_predictor.cls_score.bias"]) - 1
    settings.MODEL.DEVICE, settings.MODEL.WEIGHTS = str(device), ""
    settings.INPUT.MIN_SIZE_TEST, settings.INPUT.MAX_SIZE_TEST = sides
    predictor = DefaultPredictor(settings)
    predictor.model.load_state_dict(dict(state), strict=False)
    return predictor


def detectron2s(predictor: Any, pictures: Sequence[Picture]) -> list[Detections]:
    """What detectron2 finds."""
    rows = [predictor(picture[:, :, ::-1])["instances"].to("cpu") for picture in pictures]
    return [Detections(row.pred_boxes.tensor, row.scores, row.pred_classes + 1, ()) for row in rows]


def _agreement(detector: Detector, pictures: Sequence[Picture], expected: Sequence[Detections]) -> str:
    limits = {"pixels": 8, "score": 0.03} if detector.bf16 else {"pixels": 0.01, "score": 1e-4}
    share = share_of(found(detector, pictures), expected, ALIKE if detector.bf16 else SAME, **limits)
    return f"{share:.0%} of the detections are the same{' in bf16' if detector.bf16 else ''}"
