"""What `rcnn reproduce` does and shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
from rcnn.cli.counting import counting
from rcnn.cli.progress import TrainingProgress, show_plan, trained
from rcnn.config import Config
from rcnn.presets.rows import row
from rcnn.report.words import counted, or_dash
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


def run(
    name: str,
    voc: Path,
    config: Config,
    out: Path,
    sets: Sequence[str],
    begin: Mapping[str, Any],
    regions: Mapping[str, Any],
) -> int:
    """Train and measure, or until asked to stop; the exit status."""
    chosen = row(name)
    dataset = voc_data(voc, chosen)
    listener = Foresight(RunFolder(out).events)
    prepared = prepare_row(name, chosen, config, dataset, out, listener, **begin, **regions)
    show_plan(prepared)
    print("\n".join(map(lengths, plans(prepared))))
    if not trained(prepared, listener):
        return 130
    with counting(len(dataset.splits["test"]), "detecting", _console) as on_picture:
        found = measure_row(chosen, dataset, out, on_picture=on_picture, **regions)
    _report(name, found, sets, begun_with(out))
    return 0


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


def result_table(found: Reproduced) -> Table:
    """Ours beside the paper's."""
    published, difference = found.row, found.difference
    table = Table("", "ours", "paper", "difference", box=None, pad_edge=False)
    table.add_row("mAP", or_dash(found.map, ".1f"), or_dash(published.map, ".1f"), or_dash(difference, "+.1f"))
    table.add_row("s a picture", or_dash(found.seconds, ".3f"), or_dash(published.seconds))
    table.add_row("training h", or_dash(found.hours, ".2f"), or_dash(published.hours))
    return table


def classes_table(found: Reproduced, published: Mapping[str, float]) -> Table:
    """AP of each class beside the paper's."""
    table = Table("class", "ours", "paper", "difference", box=None, pad_edge=False)
    for name, numbers in found.evaluation.per_class.items():
        ours, paper = 100 * numbers["AP"], published.get(name)
        difference = None if paper is None else ours - paper
        table.add_row(name, or_dash(ours, ".1f"), or_dash(paper, ".1f"), or_dash(difference, "+.1f"))
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
