"""The methods in the forms that their contract is held for, and regions for them."""

import numpy as np
from conftest import TINY

SVMS = {"model.head.classifier": "svm", "model.head.ridge": True, "model.head.box_loss": 0.0}
SPP = SVMS | {"model.method": "sppnet", "model.neck": "none", "model.head.bins": [1, 2, 3]}
FAST = {"model.method": "fast-rcnn"}
SCALES = {"model.neck": "none", "model.image_scales": [32, 48, 64]}
ONE_MAP = {"model.neck": "none", "model.rpn.anchor_sizes": [[12, 20, 32, 48]]}
METHODS = {
    "rcnn": SVMS
    | {"model.method": "rcnn", "model.neck": "none", "model.head.pool": 2}
    | {"model.head.crop": 32, "model.head.context": 2, "model.head.chunk": 7, "model.head.dropout": 0.5},
    "sppnet": SPP,
    "sppnet at three scales": SPP | SCALES,
    "fast-rcnn": FAST,
    "fast-rcnn, max": FAST | {"model.neck": "none", "model.head.pooling": "max", "model.head.dropout": 0.5},
    "fast-rcnn at three scales": FAST | SCALES,
    "fast-rcnn, max, at three scales": FAST | SCALES | {"model.head.pooling": "max"},
    "fast-rcnn, svm": FAST | {"model.head.classifier": "svm"},
    "fast-rcnn, measured": FAST | {"model.head.measured_boxes": True},
    "fast-rcnn, stage-wise": FAST | {"training.scheme": "stage-wise", "model.head.dropout": 0.5},
    "faster-rcnn": {},
    "faster-rcnn, one map": ONE_MAP,
    "faster-rcnn, c4": ONE_MAP | {"model.neck": "c4", "model.head.average": True, "model.head.widths": []},
    "faster-rcnn, exact": {"training.scheme": "exact-joint"},
    "faster-rcnn, 4-step": {"training.scheme": "4-step"},
}
SHORT = {"training.epochs": 2, "training.lr": 3e-3, "training.warmup": 0, "model.proposals.test": 30}


def settings_of(name):
    return TINY | SHORT | METHODS[name]


def regions_near(sample, count=20):
    """Boxes around the objects of a sample, and anywhere, drawn from its name."""
    rng = np.random.default_rng(list(sample.id.encode()))
    height, width, _ = sample.picture.shape
    corner, side = rng.uniform(0, (width - 24, height - 24), (count, 2)), rng.uniform(8, 24, (count, 2))
    near = [box + rng.uniform(-4, 4, (4, 4)) for box in sample.boxes]
    boxes = np.concatenate((*near, np.concatenate((corner, corner + side), axis=1)))
    return boxes.clip(0, (width, height, width, height)).astype(np.float32)
