"""All that can be said of what was found, in one object: `rcnn evaluate` says a part of it, the report everything."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np

from rcnn.analysis import Analysis, StageBlame, analyse, blame_missed
from rcnn.analysis import match as match_all
from rcnn.analysis.thresholds import Threshold
from rcnn.api.measuring import Predicted
from rcnn.api.thresholds import choose_thresholds
from rcnn.data import picture_size
from rcnn.evaluation import Evaluation, Protocol
from rcnn.evaluation.doubt import doubts
from rcnn.evaluation.interval import LEVEL, RESAMPLES, Interval, Paired, intervals, paired
from rcnn.evaluation.matches import Matches, match
from rcnn.evaluation.scenes import make_scenes
from rcnn.evaluation.side_by_side import SideBySide, side_by_side
from rcnn.goal import Goal
from rcnn.inference.predictor import SHOWN, Detector
from rcnn.methods import Method


@dataclass(frozen=True)
class Questions:
    """What is asked of detections beside the protocol's numbers."""

    protocol: Protocol = "coco"
    every_protocol: bool = False
    intervals: bool = False
    resamples: int = RESAMPLES
    goal: Goal | None = None
    analysis: bool = False
    score: float = SHOWN
    """From which detections are shown, in the analysis."""


@dataclass(frozen=True)
class Study:
    """The answers; None for what was not asked."""

    split: str
    predicted: Predicted
    evaluation: Evaluation
    protocols: SideBySide | None = None
    intervals: Mapping[str, Interval] | None = None
    paired: Mapping[str, Paired] | None = None
    goal: Goal | None = None
    thresholds: tuple[Threshold, ...] | None = None
    analysis: Analysis | None = None
    blame: StageBlame | None = None
    """Where the missed objects were lost; None without a detector at hand that shows its stages."""
    doubts: tuple[str, ...] = ()
    """What may be wrong where next to nothing is hit."""

    def to_json(self) -> dict[str, Any]:
        """What `rcnn evaluate --json` writes, and `report.json` holds."""
        numbers: dict[str, Any] = {"split": self.split, **self.evaluation.to_json()}
        numbers["seconds_per_image"] = self.predicted.seconds
        if self.protocols:
            numbers["protocols"] = self.protocols.to_json()
        if self.intervals:
            numbers["interval"] = {"level": LEVEL} | {name: each.to_json() for name, each in self.intervals.items()}
        if self.paired:
            numbers["paired"] = {name: pair.to_json() for name, pair in self.paired.items()}
        if self.thresholds:
            by_class = {threshold.name: threshold.to_json() for threshold in self.thresholds}
            numbers["thresholds"] = {"goal": str(self.goal), "by_class": by_class}
        if self.analysis:
            numbers["analysis"] = self.analysis.to_json()
            numbers["suspects"] = len(self.analysis.suspects)
        if self.blame:
            numbers["stage_blame"] = self.blame.to_json()
        return numbers


def study(
    predicted: Predicted,
    split: str,
    asked: Questions,
    rival: Predicted | None = None,
    detector: Detector | None = None,
) -> Study:
    """Answer what is asked; `rival` is another run's detections of the same pictures, for the paired test.

    With a `detector` the analysis says, too, where it lost each object that it missed: it looks at those
    pictures again.
    """
    samples, found, names = predicted.samples, predicted.detections, predicted.class_names
    matches = _matches(predicted, asked.protocol) if asked.intervals or rival else None
    return Study(
        split=split,
        predicted=predicted,
        evaluation=predicted.judge(asked.protocol),
        protocols=side_by_side(samples, found, names) if asked.every_protocol else None,
        intervals=intervals(matches, asked.resamples) if matches and asked.intervals else None,
        paired=paired(matches, _matches(rival, asked.protocol), asked.resamples) if matches and rival else None,
        goal=asked.goal,
        thresholds=choose_thresholds(predicted, asked.goal) if asked.goal else None,
        analysis=analyse(samples, found, names, asked.score) if asked.analysis else None,
        blame=_blame(detector, predicted, asked.score) if asked.analysis and _shows_stages(detector) else None,
        doubts=doubts(samples, found, names, lambda sample: picture_size(sample.picture)),
    )


def _shows_stages(detector: Detector | None) -> TypeGuard[Detector]:
    return detector is not None and isinstance(detector.model, Method)


def _matches(predicted: Predicted, protocol: Protocol) -> Matches:
    scenes = make_scenes(predicted.samples, predicted.detections, predicted.class_names)
    return match(scenes, predicted.class_names, protocol)


def _blame(detector: Detector, predicted: Predicted, score: float) -> StageBlame:
    """Where missed objects were lost: the detector looks again at the pictures that hold some, and at no other."""
    names, found = detector.class_names, [each.above(score) for each in predicted.detections]
    truth = match_all(predicted.samples, found, names, max_detections=max(map(len, found), default=0) + 1).truth
    places = np.unique(truth.picture[truth.missed]).tolist()
    again = [predicted.samples[place] for place in places]
    part = blame_missed(again, detector.stages(again), names, score)
    missed = tuple(replace(blame, picture=places[blame.picture]) for blame in part.missed)
    return replace(part, objects=int(truth.counts.sum()), missed=missed)
