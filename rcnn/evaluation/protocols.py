"""One function for all protocols."""

from collections.abc import Sequence
from typing import get_args

import numpy as np

from rcnn.errors import ConfigError
from rcnn.evaluation.coco import score_coco
from rcnn.evaluation.result import Evaluation, Protocol, mean_known
from rcnn.evaluation.scenes import Scene, make_scenes
from rcnn.evaluation.voc import area_under_curve, eleven_points, score_voc
from rcnn.sample import Sample
from rcnn.structures import Detections

VOC_AVERAGES = {"voc07": eleven_points, "voc": area_under_curve}


def evaluate(
    samples: Sequence[Sample],
    found: Sequence[Detections],
    class_names: tuple[str, ...],
    protocol: Protocol,
    max_detections: int = 100,
) -> Evaluation:
    """Measure what was found in each picture against its truth, both in pixels of the original picture.

    `found` holds one `Detections` per sample, in the same order; equal scores rank in the order given.
    `max_detections` is COCO's limit on the detections of one class in one picture; the VOC protocols have none.
    Raises DataError where detections do not belong to the samples or classes or are not finite, ConfigError for an
    unknown protocol or a limit below 1.
    """
    _check_settings(protocol, max_detections)
    class_names = tuple(class_names)
    scenes = make_scenes(samples, found, class_names)
    if protocol == "coco":
        metrics, per_class = score_coco(scenes, class_names, max_detections)
        return Evaluation(protocol, len(scenes), metrics, per_class, _cap_warnings(scenes, max_detections))
    per_class = score_voc(scenes, class_names, VOC_AVERAGES[protocol])
    mean = mean_known(numbers["AP"] for numbers in per_class.values())
    return Evaluation(protocol, len(scenes), {"mAP": mean}, per_class)


def _check_settings(protocol: str, max_detections: int) -> None:
    if protocol not in get_args(Protocol):
        raise ConfigError(f"protocol {protocol!r} is unknown; choose one of {', '.join(get_args(Protocol))}")
    if max_detections < 1:
        raise ConfigError(f"max_detections is {max_detections}; give at least 1")


def _cap_warnings(scenes: Sequence[Scene], cap: int) -> tuple[str, ...]:
    over = sum(np.bincount(scene.found_labels, minlength=1).max() > cap for scene in scenes)
    if not over:
        return ()
    return (f"pictures with more than {cap} detections of one class: {over}; only the best {cap} were counted",)
