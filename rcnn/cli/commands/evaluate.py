"""`rcnn evaluate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from rcnn.cli import options as o
from rcnn.errors import ConfigError
from rcnn.goal import parse_goal
from rcnn.paths import refuse_missing_data, refuse_missing_results
from rcnn.presets.sources import refuse_missing_rival, refuse_unreadable

AnyProtocol = Literal["voc07", "voc", "coco", "all"]
Places = Annotated[list[str], typer.Argument(metavar="[RUN] DATA", help="A run, or torchvision:NAME; and the data.")]


def evaluate(
    places: Places,
    split: Annotated[str, typer.Option(help="The part of the data to measure on.")] = "test",
    protocol: Annotated[AnyProtocol, typer.Option(help="How AP is computed; all: side by side, and why.")] = "coco",
    weights: o.WhichWeights = "best",
    json_file: o.NumbersFile = None,
    predictions: o.PredictionsFile = None,
    save_predictions: o.SavePredictions = None,
    interval: o.IntervalFlag = False,
    resamples: o.Resamples = 1000,
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
    run, data = run_and_data(places, predictions, weights, against)
    goal = parse_goal(threshold_for) if threshold_for else None
    from rcnn.api.detecting import Detecting
    from rcnn.api.study import Questions
    from rcnn.cli.evaluate import keep, measure
    from rcnn.cli.numbers import show_study

    how = Detecting(weights, device, precision, compile, batch, proposals, max_proposals, o.cores())
    measured = "coco" if protocol == "all" else protocol
    asked = Questions(measured, protocol == "all", interval, resamples, goal, analyse)
    reading = {"bad_boxes": bad_boxes, "format": data_format}
    result = measure(run, data, split, how, asked, reading, predictions, against, save_predictions)
    show_study(result, protocol, str(run or predictions), against)
    keep(result, asked, run, json_file)


def run_and_data(
    places: Sequence[str], predictions: Path | None, weights: str, against: str | None
) -> tuple[str | None, Path]:
    """What is measured, and on which data; a run is not given with a file of predictions.

    Raises an error where any of them, or what they are compared with, is not there.
    """
    if len(places) == (2 if predictions is None else 1):
        run, data = places[0] if predictions is None else None, Path(places[-1])
        if run:
            refuse_unreadable(run, weights)
        if predictions:
            refuse_missing_results(predictions)
        refuse_missing_data(data)
        refuse_missing_rival(against, weights)
        return run, data
    if predictions is None:
        raise ConfigError(
            f"{' '.join(places)}: give a run and the data, as in rcnn evaluate RUN DATA, or --predictions FILE DATA"
        )
    raise ConfigError(f"{' '.join(places)}: beside --predictions give the data alone: the file stands for the run")
