"""`rcnn evaluate`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from rcnn import api
from rcnn.analysis.thresholds import parse_goal
from rcnn.api.detecting import Detecting
from rcnn.api.predictions import read_predictions, write_predictions
from rcnn.api.study import Questions, Study, study
from rcnn.api.thresholds import doubtful_split, refuse_to_store, store_thresholds
from rcnn.cli import options as o
from rcnn.cli.counting import counting
from rcnn.cli.numbers import console, note, show, show_study
from rcnn.errors import ConfigError
from rcnn.evaluation.interval import RESAMPLES
from rcnn.runs import write_text

__all__ = ["evaluate", "show"]
AnyProtocol = Literal["voc07", "voc", "coco", "all"]
Places = Annotated[list[str], typer.Argument(metavar="[RUN] DATA", help="A run, or torchvision:NAME; and the data.")]


def evaluate(
    places: Places,
    split: Annotated[str, typer.Option(help="The part of the data to measure on.")] = "test",
    protocol: Annotated[AnyProtocol, typer.Option(help="How AP is computed; all: side by side, and why.")] = "coco",
    weights: o.WhichWeights = "best",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers here.")] = None,
    predictions: o.PredictionsFile = None,
    save_predictions: o.SavePredictions = None,
    interval: o.IntervalFlag = False,
    resamples: o.Resamples = RESAMPLES,
    against: o.Against = None,
    threshold_for: o.ThresholdFor = None,
    analyse: o.AnalyseFlag = False,
    batch: o.Together = 1,
    device: o.Device = "auto",
    precision: o.Precision = "fp32",
    compile: o.Compile = False,
    proposals: o.ProposalsFile = None,
    max_proposals: o.MaxProposals = None,
    bad_boxes: o.BadBoxes = "drop",
    data_format: o.DataFormat = None,
) -> None:
    """Measure a trained detector, or the predictions in a file, on a data set.

    Before anything is measured, the truth itself is scored as if it had been predicted: it must reach 1.
    """
    run, data = run_and_data(places, predictions)
    how = Detecting(weights, device, precision, compile, batch, proposals, max_proposals, o.cores())
    goal = parse_goal(threshold_for) if threshold_for else None
    measured = "coco" if protocol == "all" else protocol
    asked = Questions(measured, protocol == "all", interval, resamples, goal, analyse)
    reading = {"bad_boxes": bad_boxes, "format": data_format}
    result = measure(run, data, split, how, asked, reading, predictions, against, save_predictions)
    show_study(result, protocol, str(run or predictions), against)
    if analyse and run and result.blame is None:
        note("an exported file shows no stages; where it lost the missed objects, the run that it came from can tell")
    keep(result, run)
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        write_text(json_file, json.dumps(result.to_json(), indent=2) + "\n")


def run_and_data(places: Sequence[str], predictions: Path | None) -> tuple[str | None, Path]:
    """What is measured, and on which data; a run is not given with a file of predictions."""
    if predictions is None and len(places) == 2:
        return places[0], Path(places[1])
    if predictions is not None and len(places) == 1:
        return None, Path(places[0])
    if predictions is None:
        raise ConfigError(
            f"{' '.join(places)}: give a run and the data, as in rcnn evaluate RUN DATA, or --predictions FILE DATA"
        )
    raise ConfigError(f"{' '.join(places)}: beside --predictions give the data alone: the file stands for the run")


def measure(
    run: str | None,
    data: Path,
    split: str,
    how: Detecting,
    asked: Questions,
    reading: Mapping[str, object],
    predictions: Path | None,
    against: str | None,
    save_predictions: Path | None,
) -> Study:
    """Look, and answer; what takes long begins when all that could be wrong has been looked at."""
    if asked.goal and run:
        refuse_to_store(run, how.weights)
    detector = how.detector(run) if run else None
    looks = (
        {"max_pixels": detector.max_pixels, "channels": detector.preprocess.channels}
        if detector
        else {"channels": None}
    )
    dataset = api.read_data(data, **reading, **looks)  # type: ignore[arg-type]
    if detector and run:
        samples, names = how.samples(detector, run, dataset, split), detector.class_names
    else:
        assert predictions is not None
        predicted = read_predictions(predictions, dataset, split)
        samples, names = list(predicted.samples), predicted.class_names
    rival = how.rival(against, dataset, split, samples, names) if against else None
    if detector:
        with counting(len(samples), "detecting", console) as on_picture:
            predicted = how.look(detector, samples, on_picture, (asked.protocol,))
    if save_predictions:
        write_predictions(save_predictions, predicted, dataset)
    return study(predicted, split, asked, rival, detector)


def keep(result: Study, run: str | None) -> None:
    """Store the thresholds in the run, with a word where they may not hold elsewhere."""
    if result.goal is None or result.thresholds is None or run is None:
        return
    store_thresholds(Path(run), result.goal, result.split, result.thresholds)
    console.print(f"stored in {run}: rcnn predict shows each class from its threshold on", soft_wrap=True)
    if doubt := doubtful_split(Path(run), result.split):
        note(doubt)
