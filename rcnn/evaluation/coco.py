"""Average precision and recall as COCO defines them, computed by faster-coco-eval."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from rcnn.evaluation.result import PerClass
from rcnn.evaluation.scenes import Scene

Row = dict[str, Any]

AREAS = ("all", "small", "medium", "large")
IOU_50, IOU_75 = 0, 5
"""Where these stand among the thresholds 0.50, 0.55 ... 0.95."""

OUTSIDE_EVERY_RANGE = -1.0
"""The area of an object that is to be ignored with ordinary IoU (see the package's docstring)."""

LARGEST_AREA = 1e5**2
"""COCO ignores objects beyond: square pixels."""


def score_coco(
    scenes: Sequence[Scene], class_names: tuple[str, ...], max_detections: int
) -> tuple[dict[str, float], PerClass]:
    """COCO's twelve metrics over all classes, and AP and AP50 of each class."""
    caps = sorted({cap for cap in (1, 10) if cap < max_detections} | {max_detections})
    precision, recall = _precision_and_recall(scenes, class_names, caps)
    metrics = {
        "AP": _mean(precision[..., 0, -1]),
        "AP50": _mean(precision[IOU_50, ..., 0, -1]),
        "AP75": _mean(precision[IOU_75, ..., 0, -1]),
        **{f"AP_{area}": _mean(precision[..., a, -1]) for a, area in enumerate(AREAS) if a},
        **{f"AR{cap}": _mean(recall[..., 0, c]) for c, cap in enumerate(caps)},
        **{f"AR_{area}": _mean(recall[..., a, -1]) for a, area in enumerate(AREAS) if a},
    }
    per_class = {
        name: {"AP": _mean(precision[:, :, k, 0, -1]), "AP50": _mean(precision[IOU_50, :, k, 0, -1])}
        for k, name in enumerate(class_names)
    }
    return metrics, per_class


def _mean(values: Float64[np.ndarray, "..."]) -> float:
    """COCO writes -1 where there is no truth."""
    known = values[values > -1]
    return float(known.mean()) if known.size else float("nan")


def _precision_and_recall(
    scenes: Sequence[Scene], class_names: tuple[str, ...], caps: list[int]
) -> tuple[Float64[np.ndarray, "T R K A M"], Float64[np.ndarray, "T K A M"]]:
    """By IoU threshold T, recall point R, class K, area range A and cap on detections M."""
    from faster_coco_eval import COCO, COCOeval_faster

    heads = {
        "images": [{"id": number} for number in range(1, len(scenes) + 1)],
        "categories": [{"id": label, "name": name} for label, name in enumerate(class_names, start=1)],
    }
    truth = COCO(heads | {"annotations": _annotations(scenes, _truth)}, print_function=_say_nothing)
    found = COCO(heads | {"annotations": _annotations(scenes, _found)}, print_function=_say_nothing)
    evaluator = COCOeval_faster(truth, found, iouType="bbox", print_function=_say_nothing)
    evaluator.params.maxDets = caps
    evaluator.evaluate()
    evaluator.accumulate()
    return evaluator.eval["precision"], evaluator.eval["recall"]


def _annotations(scenes: Sequence[Scene], rows_of: Callable[[Scene], Iterator[Row]]) -> list[Row]:
    rows = [row | {"image_id": image} for image, scene in enumerate(scenes, start=1) for row in rows_of(scene)]
    # From 1, because the evaluator takes a match with number 0 for none.
    return [row | {"id": number} for number, row in enumerate(rows, start=1)]


def _truth(scene: Scene) -> Iterator[Row]:
    areas = np.where(scene.difficult, OUTSIDE_EVERY_RANGE, scene.area)
    columns = (_xywh(scene.boxes), scene.labels.tolist(), areas.tolist(), scene.crowd.tolist())
    for box, label, area, crowd in zip(*columns, strict=True):
        yield {"bbox": box, "category_id": label, "area": area, "iscrowd": int(crowd)}


def _found(scene: Scene) -> Iterator[Row]:
    columns = (_xywh(scene.found_boxes), scene.found_labels.tolist(), scene.found_scores.tolist())
    for box, label, score in zip(*columns, strict=True):
        yield {"bbox": box, "category_id": label, "score": score, "area": box[2] * box[3], "iscrowd": 0}


def _xywh(boxes: Float64[np.ndarray, "N 4"]) -> list[list[float]]:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()


def _say_nothing(*_: object) -> None:
    """The evaluator's reports go nowhere."""
