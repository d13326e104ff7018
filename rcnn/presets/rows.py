"""The rows of the papers' tables: what to train on what, and the numbers that were published for it."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from rcnn.config import Config
from rcnn.errors import ConfigError
from rcnn.presets.overrides import override, preset


@dataclass(frozen=True)
class Part:
    """A split of one year of VOC."""

    year: int
    split: str


@dataclass(frozen=True)
class Row:
    """One row: a preset with a few `changes`, the pictures, and what the paper says came of it."""

    preset: str
    title: str
    map: float | None
    """Published mean average precision on VOC2007 test, in percent; None where the paper gives none."""
    seconds: float | None = None
    """Published seconds a picture at test, without proposals unless the network makes them."""
    hours: float | None = None
    """Published hours of training."""
    changes: Mapping[str, object] = field(default_factory=dict)
    ranks: Mapping[str, int] = field(default_factory=dict)
    """Ranks of the layers that are truncated after training."""
    train: tuple[Part, ...] = (Part(2007, "trainval"),)
    test: Part = Part(2007, "test")


BOTH_YEARS = (Part(2007, "trainval"), Part(2012, "trainval"))
SVD = {"fc6": 1024, "fc7": 256}
VGG_M = {"model.backbone": "vgg-m", "model.head.widths": [4096, 1024], "model.head.crop": 224}
VGG16 = {"model.backbone": "vgg16"}
_SCALES = [480, 576, 688, 864, 1200]
FIVE_SCALES = {"model.image_scales": _SCALES, "input.short": 1200}
FAST_FIVE_SCALES = FIVE_SCALES | {"input.long": 2000, "training.scales": _SCALES}
SVM = {"model.head.classifier": "svm", "training.svm.difficult": True}
STAGE_WISE = {"training.scheme": "stage-wise"}
REGIONS_STAY = {"model.detections.refine": False}
CLASSES_ONLY = REGIONS_STAY | {"model.head.box_loss": 0.0}
LONGER = {"training.iterations": 60_000, "training.drops": [2 / 3]}
JOINT = {
    "training.scheme": "approximate-joint",
    "training.batch": 1,
    "training.iterations": 70_000,
    "training.drops": [5 / 7],
    "model.head.samples": 128,
    "model.head.negative_low": 0.0,
    "model.rpn.train_before": 12_000,
}

ROWS = {
    "rcnn-alexnet-07": Row("rcnn-alexnet", "R-CNN, S", 58.5, 9.8, 22),
    "rcnn-alexnet-07-no-boxes": Row(
        "rcnn-alexnet", "S without box regression", 54.2, changes=REGIONS_STAY | {"model.head.ridge": False}
    ),
    "rcnn-alexnet-07-softmax": Row(
        "rcnn-alexnet",
        "S, softmax alone",
        50.9,
        changes=REGIONS_STAY | {"model.head.classifier": "softmax", "model.head.ridge": False},
    ),
    "rcnn-vgg-m-07": Row("rcnn-alexnet", "R-CNN, M", 60.2, 12.1, 28, changes=VGG_M),
    "rcnn-vgg16-07": Row("rcnn-vgg16", "R-CNN, L", 66.0, 47.0, 84),
    "sppnet-zf-07": Row("sppnet-zf", "SPPnet, one scale", 58.0, 0.14),
    "sppnet-zf-07-5-scales": Row(
        "sppnet-zf", "SPPnet, five scales", 59.2, 0.38, changes=FIVE_SCALES | {"input.long": 12_000}
    ),
    "sppnet-vgg16-07-5-scales": Row(
        "sppnet-zf", "SPPnet, L, five scales", 63.1, 2.3, 25, changes=FIVE_SCALES | VGG16 | {"input.long": 12_000}
    ),
    "fast-rcnn-alexnet-07": Row("fast-rcnn-alexnet", "Fast R-CNN, S", 57.1, 0.10, 1.2),
    "fast-rcnn-alexnet-07-svd": Row("fast-rcnn-alexnet", "S, truncated", 56.5, 0.06, ranks=SVD),
    "fast-rcnn-alexnet-07-svm": Row("fast-rcnn-alexnet", "S, SVMs", 56.3, changes=SVM),
    "fast-rcnn-alexnet-07-5-scales": Row("fast-rcnn-alexnet", "S, five scales", 58.4, 0.39, changes=FAST_FIVE_SCALES),
    "fast-rcnn-alexnet-07-stage-wise": Row("fast-rcnn-alexnet", "S, stage-wise", 54.6, changes=STAGE_WISE),
    "fast-rcnn-alexnet-07-classes-only": Row("fast-rcnn-alexnet", "S, one task", 52.2, changes=CLASSES_ONLY),
    "fast-rcnn-alexnet-07-boxes-off": Row("fast-rcnn-alexnet", "S, boxes off at test", 53.3, changes=REGIONS_STAY),
    "fast-rcnn-vgg-m-07": Row("fast-rcnn-vgg-m", "Fast R-CNN, M", 59.2, 0.15, 2.0),
    "fast-rcnn-vgg-m-07-svd": Row("fast-rcnn-vgg-m", "M, truncated", 58.7, 0.08, ranks=SVD),
    "fast-rcnn-vgg-m-07-svm": Row("fast-rcnn-vgg-m", "M, SVMs", 58.7, changes=SVM),
    "fast-rcnn-vgg-m-07-5-scales": Row("fast-rcnn-vgg-m", "M, five scales", 60.7, 0.64, changes=FAST_FIVE_SCALES),
    "fast-rcnn-vgg-m-07-stage-wise": Row("fast-rcnn-vgg-m", "M, stage-wise", 56.6, changes=STAGE_WISE),
    "fast-rcnn-vgg-m-07-classes-only": Row("fast-rcnn-vgg-m", "M, one task", 54.7, changes=CLASSES_ONLY),
    "fast-rcnn-vgg-m-07-boxes-off": Row("fast-rcnn-vgg-m", "M, boxes off at test", 55.5, changes=REGIONS_STAY),
    "fast-rcnn-vgg16-07": Row("fast-rcnn-vgg16", "Fast R-CNN, L", 66.9, 0.32, 9.5),
    "fast-rcnn-vgg16-07-svd": Row("fast-rcnn-vgg16", "L, truncated", 66.6, 0.22, ranks=SVD),
    "fast-rcnn-vgg16-07-svm": Row("fast-rcnn-vgg16", "L, SVMs", 66.8, changes=SVM),
    "fast-rcnn-vgg16-07-stage-wise": Row("fast-rcnn-vgg16", "L, stage-wise", 64.0, changes=STAGE_WISE),
    "fast-rcnn-vgg16-07-classes-only": Row("fast-rcnn-vgg16", "L, one task", 62.6, changes=CLASSES_ONLY),
    "fast-rcnn-vgg16-07-boxes-off": Row("fast-rcnn-vgg16", "L, boxes off at test", 63.4, changes=REGIONS_STAY),
    "fast-rcnn-vgg16-07-fc6-up": Row(
        "fast-rcnn-vgg16", "L, fc6 and up train", 61.4, changes={"model.frozen_stages": 5}
    ),
    "fast-rcnn-vgg16-07-conv2-up": Row(
        "fast-rcnn-vgg16", "L, conv2_1 and up train", 67.2, hours=12.5, changes={"model.frozen_stages": 1}
    ),
    "fast-rcnn-vgg16-07-no-difficult": Row(
        "fast-rcnn-vgg16", "L without difficult objects", 68.1, changes={"training.train_difficult": False}
    ),
    "fast-rcnn-vgg16-07+12": Row("fast-rcnn-vgg16", "L on both years", 70.0, changes=LONGER, train=BOTH_YEARS),
    "faster-rcnn-zf-07": Row("faster-rcnn-zf", "Faster R-CNN, ZF", 59.9, 0.059, 12),
    "faster-rcnn-vgg16-07": Row("faster-rcnn-vgg16", "Faster R-CNN, L", 69.9, 0.198, 48),
    "faster-rcnn-vgg16-07+12": Row("faster-rcnn-vgg16", "L on both years", 73.2, 0.198, train=BOTH_YEARS),
    "faster-rcnn-vgg16-07-joint": Row("faster-rcnn-vgg16", "L, trained at once", None, 0.198, changes=JOINT),
    "faster-rcnn-vgg16-07-1-anchor": Row(
        "faster-rcnn-vgg16",
        "L, 128^2, 1:1",
        65.8,
        changes={"model.rpn.anchor_sizes": [[128]], "model.rpn.anchor_ratios": [1.0]},
    ),
    "faster-rcnn-vgg16-07-3-ratios": Row(
        "faster-rcnn-vgg16", "L, 128^2, three ratios", 68.8, changes={"model.rpn.anchor_sizes": [[128]]}
    ),
    "faster-rcnn-vgg16-07-3-scales": Row(
        "faster-rcnn-vgg16", "L, three areas, 1:1", 69.8, changes={"model.rpn.anchor_ratios": [1.0]}
    ),
    "faster-rcnn-vgg16-07-lambda-0.1": Row(
        "faster-rcnn-vgg16", "L, lambda 0.1", 67.2, changes={"model.rpn.balance": 0.1}
    ),
    "faster-rcnn-vgg16-07-lambda-1": Row("faster-rcnn-vgg16", "L, lambda 1", 68.9, changes={"model.rpn.balance": 1.0}),
    "faster-rcnn-vgg16-07-lambda-100": Row(
        "faster-rcnn-vgg16", "L, lambda 100", 69.1, changes={"model.rpn.balance": 100.0}
    ),
}
"""By name. Training is on VOC2007 trainval, or with VOC2012's too (07+12); the test is always VOC2007's."""


def row(name: str) -> Row:
    """The row of that name; raises ConfigError, with the nearest one, where there is none."""
    if name not in ROWS:
        close = difflib.get_close_matches(name, ROWS, n=1, cutoff=0.4)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ConfigError(f"no row {name}{hint}; 'rcnn reproduce' lists them")
    return ROWS[name]


def row_config(chosen: Row) -> Config:
    """All settings of a row."""
    return override(preset(chosen.preset), None, (), chosen.changes)
