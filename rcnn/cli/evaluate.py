"""`rcnn evaluate`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from rcnn import api
from rcnn.cli import options as o
from rcnn.cli.tables import flowed, show_table
from rcnn.evaluation import Evaluation, Protocol
from rcnn.report.words import counted
from rcnn.runs import write_text
from rcnn.sample import Sample

FEW = 20
"""Objects: fewer are too few to measure by."""
_console = Console(highlight=False, markup=False, emoji=False)  # class names may hold brackets and colons


def evaluate(
    run: o.RunArgument,
    data: o.DataArgument,
    split: Annotated[str, typer.Option(help="The part of the data to measure on.")] = "test",
    protocol: Annotated[Protocol, typer.Option(help="How AP is computed.")] = "coco",
    weights: o.WhichWeights = "best",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers here.")] = None,
    batch: o.Together = 1,
    device: o.Device = "auto",
    precision: o.Precision = "fp32",
    compile: o.Compile = False,
    proposals: o.ProposalsFile = None,
    max_proposals: o.MaxProposals = None,
    bad_boxes: o.BadBoxes = "drop",
    data_format: o.DataFormat = None,
) -> None:
    """Measure a trained detector on a data set.

    Before anything is measured, the truth itself is scored as if it had been predicted: it must reach 1.
    """
    detector = api.load_named(run, weights, device, precision, max_proposals, compile)
    dataset = api.read_data(data, bad_boxes, data_format, detector.max_pixels, detector.preprocess.channels)
    samples = api.evaluation_samples(detector, dataset, split, Path(run), proposals, o.cores())
    steps = iter(track(range(len(samples)), "detecting", console=_console, disable=not _console.is_terminal))
    result, seconds = api.evaluate_detector(detector, samples, protocol, batch, lambda: next(steps, None))
    show(result, split, seconds)
    warn_of_chance(samples)
    if json_file:
        numbers: dict[str, Any] = {"split": split, **result.to_json(), "seconds_per_image": seconds}
        json_file.parent.mkdir(parents=True, exist_ok=True)
        write_text(json_file, json.dumps(numbers, indent=2) + "\n")


def show(result: Evaluation, split: str, seconds: float) -> None:
    """The numbers as tables."""
    pictures = counted(result.pictures, "picture")
    _console.print(f"{result.protocol} protocol, split {split}: {pictures}, {seconds:.3f} s a picture")
    metrics = (f"{name} {_number(value)}" for name, value in result.metrics.items())
    _console.print("\n".join(flowed(metrics, _console.width)))
    columns = list(next(iter(result.per_class.values()), {}))
    rows = [(name, *(_number(numbers[c]) for c in columns)) for name, numbers in result.per_class.items()]
    show_table(_console, ("class", *columns), rows)
    for warning in result.warnings:
        _console.print(f"note: {warning}", soft_wrap=True)


def warn_of_chance(samples: Sequence[Sample]) -> None:
    """A note where so few objects count that one of them more or less moves the numbers."""
    objects = sum(not (d or c) for s in samples for d, c in zip(s.difficult, s.crowd, strict=True))  # type: ignore[arg-type]
    if objects < FEW:
        _console.print(f"note: {counted(objects, 'object')} only: chance weighs much in these numbers")


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"  # noqa: PLR0124
