"""`rcnn reproduce`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from rcnn.api.reproducing import (
    Plan,
    Reproduced,
    begun_with,
    measure_row,
    plans,
    prepare_row,
    published_classes,
    voc_data,
    write_reproduced,
)
from rcnn.cli import options as o
from rcnn.cli.counting import counting
from rcnn.cli.progress import TrainingProgress, show_plan, trained
from rcnn.errors import ConfigError
from rcnn.presets.overrides import OPTIONS, override
from rcnn.presets.rows import ROWS, row, row_config
from rcnn.report.words import counted
from rcnn.runs import RunFolder
from rcnn.training.loop import Progress

_console = Console(highlight=False, markup=False, emoji=False)
FIRST_STEPS = 3
"""After so many the rest is estimated."""


class Foresight(TrainingProgress):
    """Training's progress, with a word after the first steps on how long a stage will take."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.left = 0
        self.seen = 0

    def stage_started(self, name: str, number: int, stages: int) -> None:
        """A stage has its own pace."""
        super().stage_started(name, number, stages)
        self.seen = 0

    def epoch_started(self, epoch: int, epochs: int, batches: int) -> None:
        """Know what is left."""
        super().epoch_started(epoch, epochs, batches)
        self.left = (epochs - epoch + 1) * batches

    def stepped(self, progress: Progress, lr: float) -> None:
        """Estimate once."""
        super().stepped(progress, lr)
        self.seen += 1
        steps = self.left - progress.batches
        if self.seen == FIRST_STEPS and steps > 0:
            print(forecast(progress.seconds / progress.batches, steps), flush=True)


def reproduce(
    name: Annotated[
        str | None, typer.Argument(metavar="[ROW]", help="A row of a paper's table; without one they are listed.")
    ] = None,
    voc: Annotated[
        Path | None, typer.Option(metavar="DEVKIT", help="The folder that VOC2007 (and VOC2012) lie in.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/ROW unless given.")] = None,
    weights: Annotated[str | None, typer.Option(help="A file, or none; else torchvision's ImageNet weights.")] = None,
    proposals: o.ProposalsFile = None,
    device: o.Device = "auto",
    workers: o.Workers = None,
    resume: o.Resume = False,
    overwrite: o.Overwrite = False,
    sets: o.Sets = None,
) -> int | None:
    """Train and measure a row of a paper's table on your VOC, and print our number beside the published one.

    With all of the paper's iterations: days without a GPU. What --set changes is noted in reproduce.json.
    """
    if name is None:
        return print(rows_list())
    chosen = row(name)
    if voc is None:
        raise ConfigError(f"{name}: needs your VOC; pass --voc DEVKIT, the folder that VOC2007 lies in")
    config = override(row_config(chosen), None, sets or (), {"training.workers": workers}, OPTIONS)
    out, dataset = out or Path("runs") / name, voc_data(voc, chosen)
    regions: dict[str, Any] = {"proposals": proposals, "search_workers": o.cores(), "device": device}
    begin: dict[str, Any] = {"weights": weights, "resume": resume, "overwrite": overwrite}
    listener = Foresight(RunFolder(out).events)
    prepared = prepare_row(name, chosen, config, dataset, out, listener, **begin, **regions)
    show_plan(prepared)
    print("\n".join(map(lengths, plans(prepared))))
    if not trained(prepared, listener):
        return 130
    with counting(len(dataset.splits["test"]), "detecting", _console) as on_picture:
        found = measure_row(chosen, dataset, out, on_picture=on_picture, **regions)
    _report(name, found, sets or (), begun_with(out))
    return None


def _report(name: str, found: Reproduced, sets: Sequence[str], weights: str) -> None:
    """Write the numbers down, and show them."""
    file = write_reproduced(name, found, sets, weights)
    _console.print(result_table(found))
    if published := published_classes(name):
        _console.print(classes_table(found, published))
    for warning in found.evaluation.warnings:
        _console.print(f"note: {warning}", soft_wrap=True)
    if sets or weights == "none":
        print("note: not as in the paper (" + ", ".join([*sets, *["random weights"] * (weights == "none")]) + ")")
    print(f"{file} holds the numbers of each class")


def rows_list() -> str:
    """All rows, and what was published for them."""
    lines = [f"{'row':<34}{'':<29}{'years':<7}{'mAP':>5}{'s a picture':>13}{'training h':>12}"]
    for name, each in ROWS.items():
        years = "+".join(f"{part.year % 100:02}" for part in each.train)
        numbers = f"{_number(each.map, '.1f'):>5}{_number(each.seconds):>13}{_number(each.hours):>12}"
        lines.append(f"{name:<34}{each.title:<29}{years:<7}{numbers}")
    return "\n".join(lines)


def result_table(found: Reproduced) -> Table:
    """Ours beside the paper's."""
    published, difference = found.row, found.difference
    table = Table("", "ours", "paper", "difference", box=None, pad_edge=False)
    table.add_row("mAP", _number(found.map, ".1f"), _number(published.map, ".1f"), _number(difference, "+.1f"))
    table.add_row("s a picture", _number(found.seconds, ".3f"), _number(published.seconds))
    table.add_row("training h", _number(found.hours, ".2f"), _number(published.hours))
    return table


def classes_table(found: Reproduced, published: Mapping[str, float]) -> Table:
    """AP of each class beside the paper's."""
    table = Table("class", "ours", "paper", "difference", box=None, pad_edge=False)
    for name, numbers in found.evaluation.per_class.items():
        ours, paper = 100 * numbers["AP"], published.get(name)
        difference = None if paper is None else ours - paper
        table.add_row(name, _number(ours, ".1f"), _number(paper, ".1f"), _number(difference, "+.1f"))
    return table


def lengths(plan: Plan) -> str:
    """A stage's length in words."""
    steps = f"{counted(plan.iterations, 'iteration')} of {counted(plan.batch, 'picture')}"
    return f"stage {plan.stage}: {steps}, {counted(round(plan.passes), 'pass', 'passes')} over {plan.pictures:,}"


def forecast(seconds: float, steps: int) -> str:
    """How long so many steps will take, from the seconds of one."""
    total = seconds * steps
    unit, size = next((u for u in (("day", 86400), ("hour", 3600), ("minute", 60)) if total > 2 * u[1]), ("second", 1))
    left = "the one that is left of this stage takes" if steps == 1 else f"the {steps:,} left of this stage take"
    return f"note: {seconds:.2g} s a step; {left} about {counted(round(total / size), unit)}"


def _number(value: float | None, form: str = "g") -> str:
    return "-" if value is None or value != value else format(value, form)  # noqa: PLR0124
