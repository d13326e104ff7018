"""Before a model is measured, the measure is: truth given as predictions must score 1."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from rcnn.errors import DataError
from rcnn.evaluation.coco import LARGEST_AREA
from rcnn.evaluation.protocols import evaluate
from rcnn.evaluation.result import Protocol
from rcnn.sample import Sample
from rcnn.structures import Detections

TOLERANCE = 1e-6
IDS_SHOWN = 5
PER_OBJECT = ("boxes", "difficult", "crowd", "weight", "area")


def check_protocol(samples: Sequence[Sample], class_names: tuple[str, ...], protocol: Protocol) -> tuple[str, ...]:
    """Score the countable truth against all truth; return one-line warnings, none if every class reaches 1.

    Under the VOC protocols a class with two identical boxes in one picture cannot reach 1, because both predictions
    take the first box: that is a warning. Raises DataError for any other class that has truth and does not reach 1.
    """
    if all(_ignored(sample).all() for sample in samples):
        return ("no picture holds an object that counts; without truth there is no average precision",)
    short = _classes_short_of_one(samples, class_names, protocol)
    if not short:
        return ()
    single = [_without_twins(sample, short) for sample in samples]
    twins = [sample.id for sample, other in zip(samples, single, strict=True) if len(other.names) < len(sample.names)]
    if protocol != "coco" and twins and not _classes_short_of_one(single, class_names, protocol):
        return (
            f"{', '.join(short)} cannot reach an average precision of 1 under {protocol}: "
            f"pictures with identical boxes of one class: {len(twins)} ({_listed(twins)})",
        )
    raise DataError(
        f"truth scored as predictions does not reach an average precision of 1 under {protocol} "
        f"for {', '.join(short)}: {_cause(samples, short)}"
    )


def _classes_short_of_one(samples: Sequence[Sample], class_names: tuple[str, ...], protocol: Protocol) -> list[str]:
    found = [_truth_as_detections(sample, class_names) for sample in samples]
    cap = max(len(sample.names) for sample in samples) + 1
    per_class = evaluate(samples, found, class_names, protocol, cap).per_class
    countable = {sample.names[i] for sample in samples for i in np.flatnonzero(~_ignored(sample))}
    return [name for name in class_names if name in countable and not per_class[name]["AP"] >= 1 - TOLERANCE]


def _truth_as_detections(sample: Sample, class_names: tuple[str, ...]) -> Detections:
    # An unknown class or a box that is not finite is no prediction; as truth it is refused, or missed and reported.
    known = np.array([name in class_names for name in sample.names], bool)
    keep = np.flatnonzero(~_ignored(sample) & known & np.isfinite(sample.boxes).all(axis=1))
    labels = [class_names.index(sample.names[i]) + 1 for i in keep]
    return Detections(
        boxes=torch.from_numpy(sample.boxes[keep]),
        scores=torch.ones(len(keep)),
        labels=torch.tensor(labels, dtype=torch.int64),
        class_names=class_names,
    )


def _ignored(sample: Sample) -> Bool[np.ndarray, "G"]:
    return np.asarray(sample.difficult) | np.asarray(sample.crowd)


def _without_twins(sample: Sample, class_names: Sequence[str]) -> Sample:
    """The sample without those boxes of these classes that are identical to a countable one of the same class."""
    ignored = _ignored(sample)
    keep, countable = [], set()
    for i in np.argsort(ignored, kind="stable"):
        twin = (sample.names[i], *sample.boxes[i].tolist())
        if twin in countable:
            continue
        keep.append(int(i))
        if not ignored[i] and sample.names[i] in class_names:
            countable.add(twin)
    keep.sort()
    columns: dict[str, Any] = {name: np.asarray(getattr(sample, name))[keep] for name in PER_OBJECT}
    return replace(sample, names=tuple(sample.names[i] for i in keep), **columns)


def _cause(samples: Sequence[Sample], short: Sequence[str]) -> str:
    """The first object of these classes that no protocol can count, and what to do."""
    for sample in samples:
        for i in np.flatnonzero(~_ignored(sample)):
            what = _fault(sample, int(i)) if sample.names[i] in short else None
            if what:
                return f"sample {sample.id}: object {i + 1} ({sample.names[i]}) {what}; mend or remove it"
    return "the cause is unknown; please report it with these annotations"


def _fault(sample: Sample, i: int) -> str | None:
    box, area = sample.boxes[i], np.asarray(sample.area)[i]
    if not np.isfinite(box).all():
        return "has a box that is not finite"
    if not (box[2:] > box[:2]).all():
        return "has a box without width or height"
    if not 0 <= area <= LARGEST_AREA:
        return f"has an area of {area:g} square pixels"
    return None


def _listed(ids: Sequence[str]) -> str:
    more = [f"and {len(ids) - IDS_SHOWN} more"] if len(ids) > IDS_SHOWN else []
    return ", ".join([*ids[:IDS_SHOWN], *more])
