"""What the papers published: R-CNN (arXiv 1311.2524), SPPnet (1406.4729), Fast (1504.08083), Faster (1506.01497).

mAP is in percent, VOC 2007 test under its own protocol, trained on VOC 2007 trainval, unless said. Times are of one
K40 (SPPnet's five scales: its authors' machine); without proposals, but for Faster R-CNN, which makes its own.
"""

from dataclasses import dataclass

NETWORKS = {"S": "AlexNet", "M": "VGG_CNN_M_1024", "L": "VGG16", "ZF": "ZF-5"}
"""The papers' letters."""
_LETTER = {"alexnet": "S", "caffenet": "S", "vgg-m": "M", "zf": "ZF"}


@dataclass(frozen=True)
class Published:
    """A method with one of the networks."""

    train_hours: float | None = None
    test_seconds: float | None = None
    map07: float | None = None
    train_speedup: float | None = None
    """Over R-CNN with the same network."""
    test_speedup: float | None = None
    """The same; proposals are not counted."""


METHODS: dict[str, dict[str, Published]] = {
    "rcnn": {
        "S": Published(22, 9.8, 58.5, 1, 1),
        "M": Published(28, 12.1, 60.2, 1, 1),
        "L": Published(84, 47.0, 66.0, 1, 1),
    },
    "sppnet": {
        "L": Published(25, 2.3, 63.1, 3.4, 20),  # five scales, without difficult objects
        "ZF": Published(None, 0.14, 58.0),
    },
    "fast-rcnn": {
        "S": Published(1.2, 0.10, 57.1, 18.3, 98),
        "M": Published(2.0, 0.15, 59.2, 14.0, 80),
        "L": Published(9.5, 0.32, 66.9, 8.8, 146),
    },
    "faster-rcnn": {
        "L": Published(48, 0.198, 69.9),  # 4-step; unshared 68.5
        "ZF": Published(12, 0.059, 59.9),
    },
}
"""Fast R-CNN, table 4; SPPnet, table 9; Faster R-CNN, tables 2, 3 and 5."""

PHASES_MS = {
    "fast-rcnn": {"L": (1510.0, 146.0, 174.0)},
    "faster-rcnn": {"L": (10.0, 141.0, 47.0), "ZF": (3.0, 31.0, 25.0)},
}
"""Proposals, convolutions, regions (Faster R-CNN, table 5)."""

COCO = {"fast-rcnn": (39.3, 19.3), "faster-rcnn": (42.1, 21.5)}
"""AP50 and AP on COCO test-dev, VGG16 (Faster R-CNN, table 11)."""

_VOC = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_RCNN = (73.4, 77.0, 63.4, 45.4, 44.6, 75.1, 78.1, 79.8, 40.5, 73.7, 62.2, 79.4, 78.1, 73.1, 64.2, 35.6, 66.8, 67.2)
_SPPNET = (73.9, 72.3, 62.5, 51.5, 44.4, 74.4, 73.0, 74.4, 42.3, 73.6, 57.7, 70.3, 74.6, 74.3, 54.2, 34.0, 56.4, 56.4)
_FAST = (74.5, 78.3, 69.2, 53.2, 36.6, 77.3, 78.2, 82.0, 40.7, 72.7, 67.9, 79.6, 79.2, 73.0, 69.0, 30.1, 65.4, 70.2)
PER_CLASS: dict[str, dict[str, float]] = {
    "rcnn": dict(zip(_VOC, (*_RCNN, 70.4, 71.1), strict=True)),
    "sppnet": dict(zip(_VOC, (*_SPPNET, 67.9, 73.5), strict=True)),
    "fast-rcnn": dict(zip(_VOC, (*_FAST, 75.8, 65.8), strict=True)),
}
"""AP of each class of VOC, VGG16 (Fast R-CNN, table 1)."""

SVD = {"S": (57.1, 56.5), "M": (59.2, 58.7), "L": (66.9, 66.6)}
"""mAP before and after truncation of fc6 to 1024 and fc7 to 256 (Fast R-CNN, table 4)."""
SVD_MS = {"S": (100.0, 60.0), "M": (150.0, 80.0), "L": (320.0, 220.0)}
"""Milliseconds of a picture before and after (the same)."""

SVD_SPEEDUP = {"S": 169.0, "M": 150.0, "L": 213.0}
"""How many times faster than R-CNN Fast R-CNN is after truncation (the same)."""

CLASSIFIERS: dict[str, dict[str, tuple[float | None, float]]] = {
    "rcnn": {"S": (None, 58.5), "M": (None, 60.2), "L": (None, 66.0)},
    "fast-rcnn": {"S": (57.1, 56.3), "M": (59.2, 58.7), "L": (66.9, 66.8)},
}
"""Softmax and support vector machines (Fast R-CNN, table 8)."""
RCNN_CLASSIFIERS = (50.9, 54.2)
"""The same for R-CNN on AlexNet, before box regression (R-CNN, appendix B)."""

SCALES: dict[str, dict[str, tuple[tuple[float, float], tuple[float | None, float | None]]]] = {
    "sppnet": {"ZF": ((58.0, 0.14), (59.2, 0.38))},
    "fast-rcnn": {
        "S": ((57.1, 0.10), (58.4, 0.39)),
        "M": ((59.2, 0.15), (60.7, 0.64)),
        "L": ((66.9, 0.32), (None, None)),  # five did not fit the GPU
    },
}
"""mAP and seconds a picture at one scale and at five (Fast R-CNN, table 7)."""

MULTI_TASK = {"S": (52.2, 53.3, 54.6, 57.1), "M": (54.7, 55.5, 56.6, 59.2), "L": (62.6, 63.4, 64.0, 66.9)}
"""Classification only, multi-task without regression at test, stage-wise, multi-task (Fast R-CNN, table 6)."""

LAYERS = {5: (61.4, None), 2: (66.9, 9.5), 1: (67.2, 12.5)}
"""By frozen stages of VGG16: mAP and training hours (Fast R-CNN, table 5)."""

SOURCES = {"selective search": 58.7, "RPN": 59.9}
"""mAP with ZF-5, the same proposals in training and at test (Faster R-CNN, table 2)."""
RPN_AT_TEST = {100: 55.1, 300: 56.8, 1000: 56.3}
"""mAP with ZF-5, trained on selective search, with so many proposals of an RPN at test (the same)."""


def letter(backbone: str) -> str:
    """The papers' letter for a backbone; that of VGG16, which they all have, for one that they do not know."""
    return _LETTER.get(backbone, "L")
