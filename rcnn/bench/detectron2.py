"""Prediction against detectron2's Faster R-CNN, where that is installed: the same weights, the same pictures.

The weights are those of torchvision's detector of the same shape, which finds things, under detectron2's names.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rcnn import build
from rcnn.bench.detectron2_weights import USUAL, Sides, random_c4_state, random_state
from rcnn.bench.harness import Case, Way
from rcnn.bench.pictures import Picture, photo
from rcnn.bench.predict import agreement, found, precisions
from rcnn.compat.detectron2 import CONFIGS, from_state
from rcnn.errors import ConfigError
from rcnn.inference.predictor import Detector
from rcnn.structures import Detections

PYRAMID = "COCO-Detection/faster_rcnn_R_50_FPN_3x"
C4 = "COCO-Detection/faster_rcnn_R_50_C4_3x"
RANDOM = {PYRAMID: random_state, C4: random_c4_state}
"""A model of each kind, and what makes weights with which it finds things."""
SIZE = (800, 1216)


def cases(device: torch.device) -> Iterator[Case]:
    """One picture at a time by the zoo's two kinds of models, as `rcnn bench predict` has torchvision's."""
    refuse_missing()
    pictures = [photo(*SIZE, seed=1)]
    for name, random in RANDOM.items():
        yield _case(name, random(20, pictures[0]), pictures, device)


def _case(name: str, state: Mapping[str, Tensor], pictures: Sequence[Picture], device: torch.device) -> Case:
    theirs = shipped(name, state, device)
    detectors = {bf16: detector_of(name, state, device, bf16) for bf16 in precisions(device)}
    ways = [Way("detectron2", partial(detectron2s, theirs, pictures))]
    ways += [Way(f"rcnn{', bf16' * bf16}", partial(found, one, pictures)) for bf16, one in detectors.items()]

    def check() -> str:
        expected = detectron2s(theirs, pictures)
        return "; ".join(agreement(one, pictures, expected) for one in detectors.values())

    counts = {"detections": sum(map(len, detectron2s(theirs, pictures)))}
    return Case(f"predict, detectron2's {name.partition('/')[2]}, {SIZE[0]} x {SIZE[1]}", ways, check, counts)


def refuse_missing() -> None:
    """Raise ConfigError where detectron2 is not installed."""
    try:
        import detectron2  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "--against detectron2: is not installed; build it (its INSTALL.md says how), or leave --against out"
        ) from error


def detector_of(
    name: str, state: Mapping[str, Tensor], device: torch.device, bf16: bool = False, sides: Sides = USUAL
) -> Detector:
    """This library's detector with weights of detectron2's, for pictures of a short and at most a long side."""
    model, class_names = from_state(name, state)
    settings = CONFIGS[name].input.model_copy(update={"short": sides[0], "long": sides[1]})
    return Detector(model, build.preprocess(settings), class_names, device, bf16).settled()


def shipped(name: str, state: Mapping[str, Tensor], device: torch.device, sides: Sides = USUAL) -> Any:
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
