"""Truth and detections of each picture side by side, as checked float64 arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from rcnn.errors import DataError
from rcnn.sample import Sample
from rcnn.structures import Detections


@dataclass(frozen=True)
class Scene:
    """One picture: its truth, and what was found in it, in its own pixels. Labels are 1..K."""

    boxes: Float64[np.ndarray, "G 4"]
    labels: Int64[np.ndarray, "G"]
    difficult: Bool[np.ndarray, "G"]
    crowd: Bool[np.ndarray, "G"]
    area: Float64[np.ndarray, "G"]
    found_boxes: Float64[np.ndarray, "D 4"]
    found_scores: Float64[np.ndarray, "D"]
    found_labels: Int64[np.ndarray, "D"]


def make_scenes(samples: Sequence[Sample], found: Sequence[Detections], class_names: tuple[str, ...]) -> list[Scene]:
    """One scene a sample.

    Raises DataError where the two lists do not belong together, a class is unknown, or a detection is not finite.
    """
    if len(samples) != len(found):
        raise DataError(f"{len(samples)} samples but {len(found)} detections; give one of each per picture")
    labels = {name: label for label, name in enumerate(class_names, start=1)}
    return [_make_scene(*pair, class_names, labels) for pair in zip(samples, found, strict=True)]


def _make_scene(sample: Sample, found: Detections, class_names: tuple[str, ...], labels: dict[str, int]) -> Scene:
    unknown = next((name for name in sample.names if name not in labels), None)
    if unknown is not None:
        raise DataError(f"sample {sample.id}: unknown class {unknown!r}; the classes are {', '.join(class_names)}")
    if tuple(found.class_names) != class_names:
        raise DataError(
            f"sample {sample.id}: its detections are of the classes {', '.join(found.class_names)}, "
            f"but evaluated are {', '.join(class_names)}; give the same names in the same order"
        )
    return Scene(
        boxes=sample.boxes.astype(np.float64),
        labels=np.array([labels[name] for name in sample.names], np.int64),
        difficult=np.asarray(sample.difficult),
        crowd=np.asarray(sample.crowd),
        area=np.asarray(sample.area, np.float64),
        found_boxes=_finite(sample.id, "boxes", found.boxes),
        found_scores=_finite(sample.id, "scores", found.scores),
        found_labels=_checked_labels(sample.id, found.labels, len(class_names)),
    )


def _finite(sample_id: str, what: str, tensor: Tensor) -> Float64[np.ndarray, "..."]:
    values = tensor.detach().cpu().double().numpy()
    if not np.isfinite(values).all():
        raise DataError(f"sample {sample_id}: {what} of its detections are not finite; check the weights of the model")
    return values


def _checked_labels(sample_id: str, tensor: Tensor, classes: int) -> Int64[np.ndarray, "D"]:
    labels = tensor.detach().cpu().long().numpy()
    if len(labels) and not 1 <= labels.min() <= labels.max() <= classes:
        raise DataError(f"sample {sample_id}: labels of its detections are not all in 1..{classes}; 0 is background")
    return labels
