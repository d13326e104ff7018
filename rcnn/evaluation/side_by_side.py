"""The same detections under every protocol, and why the numbers differ: for this data, in a line each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rcnn.evaluation.matches import Matches, match
from rcnn.evaluation.protocols import evaluate
from rcnn.evaluation.result import Protocol, plain
from rcnn.evaluation.scenes import Scene, make_scenes
from rcnn.sample import Sample
from rcnn.structures import Detections

CAPS = (1, 10, 100, 300)
LEAST_SCORE = 0.1
"""Detections that all have more were cut before: AP needs the uncertain ones too."""
NAN = float("nan")


@dataclass(frozen=True)
class Variant:
    """A way to measure, and what it says; NaN for what it does not define."""

    name: str
    AP: float
    """The mean over IoU 0.5 to 0.95."""
    AP50: float
    """At IoU 0.5; VOC's mAP."""
    AP75: float


@dataclass(frozen=True)
class SideBySide:
    """All variants, and the reasons why they differ here."""

    pictures: int
    variants: tuple[Variant, ...]
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        rows = [
            {"name": v.name, "AP": plain(v.AP), "AP50": plain(v.AP50), "AP75": plain(v.AP75)} for v in self.variants
        ]
        return {"protocol": "all", "pictures": self.pictures, "variants": rows, "reasons": list(self.reasons)}


def side_by_side(samples: Sequence[Sample], found: Sequence[Detections], class_names: tuple[str, ...]) -> SideBySide:
    """Measure under VOC 2007, VOC, and COCO with difficult objects left out or counted and with other caps."""
    scenes = make_scenes(samples, found, class_names)
    most = max((_most_of_a_class(scene) for scene in scenes), default=0)
    counted = [replace(sample, difficult=np.zeros(len(sample.names), bool)) for sample in samples]
    measured: list[tuple[str, Sequence[Sample], Protocol, int]] = [
        ("VOC 2007: 11 points", samples, "voc07", 100),
        ("VOC 2010: area", samples, "voc", 100),
        ("COCO", samples, "coco", 100),
        ("COCO, difficult counted", counted, "coco", 100),
        *((f"COCO, best {cap} of a class", samples, "coco", cap) for cap in CAPS if cap != 100),
        ("COCO, no cap", samples, "coco", max(most, 1)),
    ]
    variants = tuple(_variant(name, of, found, class_names, protocol, cap) for name, of, protocol, cap in measured)
    return SideBySide(len(scenes), variants, tuple(_reasons(scenes, class_names, variants)))


def _variant(
    name: str,
    samples: Sequence[Sample],
    found: Sequence[Detections],
    class_names: tuple[str, ...],
    protocol: Protocol,
    cap: int,
) -> Variant:
    metrics = evaluate(samples, found, class_names, protocol, cap).metrics
    if protocol != "coco":
        return Variant(name, NAN, metrics["mAP"], NAN)
    return Variant(name, metrics["AP"], metrics["AP50"], metrics["AP75"])


def _reasons(scenes: Sequence[Scene], class_names: tuple[str, ...], variants: Sequence[Variant]) -> Iterator[str]:
    voc, coco = (match(scenes, class_names, protocol) for protocol in _BOTH)
    eleven, area, hundred_and_one, counted = variants[:4]
    if eleven.AP50 != area.AP50:
        yield (
            f"VOC 2007 averages precision at 11 values of recall, VOC 2010 takes the area under it: "
            f"{eleven.AP50:.3f} and {area.AP50:.3f} of the same hits; COCO takes 101 values"
        )
    if more := _hits(coco, 0) - _hits(voc, 0):
        yield (
            f"hits under COCO at IoU 0.5: {more:+d}: there a detection takes the best object that is still free, "
            "under VOC the one that it overlaps most, taken or not"
        )
    if _hits(coco, 0) > _hits(coco, 9):
        yield (
            f"COCO's AP asks for tight boxes: of {_hits(coco, 0)} hits at IoU 0.5, {_hits(coco, 5)} are left at 0.75 "
            f"and {_hits(coco, 9)} at 0.95"
        )
    yield from _of_ignored(scenes, hundred_and_one, counted)
    yield from _of_caps(scenes)
    yield from _of_what_is_absent(scenes, class_names)


_BOTH: tuple[Protocol, Protocol] = ("voc", "coco")


def _of_ignored(scenes: Sequence[Scene], without: Variant, counted: Variant) -> Iterator[str]:
    difficult = sum(int((scene.difficult & ~scene.crowd).sum()) for scene in scenes)
    crowd = sum(int(scene.crowd.sum()) for scene in scenes)
    if difficult:
        yield (
            f"difficult objects: {difficult}; neither found nor missed, as VOC has it; programs of COCO that do not "
            f"know the mark count them, which moves AP from {without.AP:.3f} to {counted.AP:.3f}"
        )
    if crowd:
        yield (
            f"crowd boxes: {crowd}; they count for neither side; under COCO detections inside of one are dropped, "
            "under VOC those that overlap it by half"
        )


def _of_caps(scenes: Sequence[Scene]) -> Iterator[str]:
    most = np.array([_most_of_a_class(scene) for scene in scenes])
    for cap in CAPS:
        if over := int((most > cap).sum()):
            objects = sum(int(np.maximum(_objects(scene) - cap, 0).sum()) for scene in scenes)
            cannot = f"; objects beyond it, which must be missed: {objects}" if objects else ""
            yield f"cap {cap}: pictures with more detections of one class: {over}{cannot}; VOC has no cap"


def _of_what_is_absent(scenes: Sequence[Scene], class_names: tuple[str, ...]) -> Iterator[str]:
    objects = sum((_objects(scene, len(class_names)) for scene in scenes), np.zeros(len(class_names), np.int64))
    if absent := [name for name, count in zip(class_names, objects, strict=True) if not count]:
        yield f"no object of {', '.join(absent)} here: left out of every mean"
    scores = np.concatenate([np.zeros(0), *(scene.found_scores for scene in scenes)])
    if len(scores) and scores.min() > LEAST_SCORE:
        yield (
            f"no detection has a score under {scores.min():.2f}: they were cut before, which lowers every AP; "
            "give all, down to a score of 0.05"
        )


def _most_of_a_class(scene: Scene) -> int:
    return int(np.bincount(scene.found_labels, minlength=1).max())


def _objects(scene: Scene, classes: int = 0) -> np.ndarray:
    """How many count, of each class."""
    return np.bincount(scene.labels[~(scene.difficult | scene.crowd)], minlength=classes + 1)[1:]


def _hits(matches: Matches, place: int) -> int:
    """At the IoU in that place."""
    return sum(int(of.hits[:, place].sum()) for of in matches.classes)
