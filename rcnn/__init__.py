"""The R-CNN family of object detectors in PyTorch.

import rcnn

rcnn.train("DATA", out="runs/mine")
detector = rcnn.load("runs/mine")
for detections in detector.predict(["a.jpg", "b.jpg"], batch=2):
    print(detections.names, detections.boxes)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rcnn.memory import ask_for_large_pages

if TYPE_CHECKING:
    from rcnn.api import check, compress, load, train
    from rcnn.api import measure as evaluate
    from rcnn.inference.predictor import Detector
    from rcnn.sample import DataSet, Sample
    from rcnn.structures import Detections

# The public names and where they are: imported when they are first used, so that `import rcnn` costs nothing.
_WHERE = {
    "load": "rcnn.api:load",
    "train": "rcnn.api:train",
    "evaluate": "rcnn.api:measure",
    "check": "rcnn.api:check",
    "compress": "rcnn.api:compress",
    "Detector": "rcnn.inference.predictor:Detector",
    "Detections": "rcnn.structures:Detections",
    "Sample": "rcnn.sample:Sample",
    "DataSet": "rcnn.sample:DataSet",
}

__all__ = ["DataSet", "Detections", "Detector", "Sample", "check", "compress", "evaluate", "load", "train"]

ask_for_large_pages()  # here, since torch looks only when its first tensor is made


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'rcnn' has no attribute {name!r}")
    module, _, attribute = _WHERE[name].partition(":")
    return getattr(import_module(module), attribute)
