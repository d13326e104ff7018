"""`rcnn compare`."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from rcnn.api.compare import METHODS, STUDIES, Asked, make_plan
from rcnn.api.compare import compare as run_comparison
from rcnn.api.compare.record import AnyResult, Measured, Trained
from rcnn.cli import options as o
from rcnn.cli.progress import TrainingProgress
from rcnn.cli.tables import show_table
from rcnn.errors import ConfigError
from rcnn.report.compare import Section
from rcnn.runs import RunFolder
from rcnn.training.session import Listener

ALL = ",".join(METHODS)
WIDTH = 120
"""Of tables where there is no terminal."""
_console = Console(highlight=False, markup=False, emoji=False)  # class names may hold brackets and colons


Folder = Annotated[Path, typer.Option(metavar="FOLDER", help="For the runs, compare.json and compare.html.")]
Methods = Annotated[str, typer.Option(help="Which, with commas between them.")]
BackboneName = Annotated[str, typer.Option(help="The network of all methods.")]
Given = Annotated[
    list[str] | None, typer.Option("--run", metavar="METHOD=RUN", help="Take this run, train none; repeatable.")
]
SetsFor = Annotated[
    list[str] | None,
    typer.Option("--set-for", metavar="METHOD:KEY=VALUE", help="A setting of one method; repeatable."),
]
Split = Annotated[str, typer.Option(help="The part of the data to measure on.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on; methods and studies may join.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a comparison in the same folder.")]
Timed = Annotated[int, typer.Option(min=1, help="Pictures whose time is taken.")]
Repeats = Annotated[int, typer.Option(min=1, help="Measurements of each time.")]


def compare(
    data: o.DataArgument,
    out: Folder,
    methods: Methods = ALL,
    backbone: BackboneName = "mobilenet-v2",
    backbone_weights: o.BackboneWeights = None,
    given: Given = None,
    svm: Annotated[bool, typer.Option("--svm", help="Study: softmax against support vector machines.")] = False,
    scales: Annotated[bool, typer.Option("--scales", help="Study: one scale against five.")] = False,
    number: Annotated[bool, typer.Option("--proposals-study", help="Study: how many proposals.")] = False,
    multi_task: Annotated[bool, typer.Option("--multi-task", help="Study: what multi-task training gives.")] = False,
    layers: Annotated[bool, typer.Option("--layers", help="Study: which layers are tuned.")] = False,
    svd: Annotated[bool, typer.Option("--svd", help="Study: truncated SVD at a few ranks.")] = False,
    schemes: Annotated[bool, typer.Option("--schemes", help="Study: the schemes of Faster R-CNN's training.")] = False,
    rpn: Annotated[bool, typer.Option("--rpn", help="Study: selective search against an RPN.")] = False,
    all_studies: Annotated[bool, typer.Option("--all-studies", help="All that the methods allow.")] = False,
    epochs: o.Epochs = None,
    size: o.Size = None,
    seed: o.Seed = None,
    workers: o.Workers = None,
    sets: o.Sets = None,
    sets_for: SetsFor = None,
    split: Split = "test",
    train_split: o.TrainSplit = None,
    val_split: o.ValSplit = None,
    proposals: o.ProposalsFile = None,
    device: o.Device = "auto",
    precision: o.ComparedPrecision = None,
    timed: Timed = 5,
    repeats: Repeats = 3,
    bad_boxes: o.BadBoxes = "fail",
    data_format: o.DataFormat = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> int:
    """Train and measure the methods on one data set with one backbone, beside the papers' numbers.

    Leaves their runs, compare.json with all numbers, and compare.html, a page with tables and drawings."""
    return carry_out(data, out, asked_for(locals()), resume, overwrite)


def asked_for(options: Mapping[str, Any]) -> Asked:
    """The command's options, by name, as the library takes them; raises ConfigError for words that mean nothing."""
    methods = tuple(word for word in dict.fromkeys(part.strip() for part in options["methods"].split(",")) if word)
    flags = {name: options[_FLAGS.get(name, name)] for name in STUDIES}
    runs = pairs(options["given"] or (), "=", "--run", "METHOD=RUN", "fast-rcnn=runs/fast-rcnn")
    changed = pairs(options["sets_for"] or (), ":", "--set-for", "METHOD:KEY=VALUE", "fast-rcnn:training.lr=0.01")
    special = {
        "methods": methods,
        "studies": chosen_studies(flags, options["all_studies"], methods),
        "given": {method: Path(path) for method, path in runs},
        "sets": options["sets"] or (),
        "sets_for": grouped(changed),
        "format": options["data_format"],
        "search_workers": o.cores(),
    }
    same = {field.name for field in fields(Asked)} - special.keys()
    return Asked(**special, **{name: options[name] for name in same})


_FLAGS = {"proposals": "number", "multi-task": "multi_task"}
"""The options of studies that are not named as these."""


def carry_out(data: Path, out: Path, asked: Asked, resume: bool, overwrite: bool) -> int:
    """Compare to the end, or until asked to stop; the exit status."""
    plan = make_plan(data, out, asked)
    try:
        _, sections = run_comparison(plan, Screen(), resume, overwrite)
    except KeyboardInterrupt:
        print(
            f"rcnn: stopped; what is finished stands in {out}, the same command with --resume goes on", file=sys.stderr
        )
        return 130
    for section in sections:
        show(section)
    print(f"done: {out / 'compare.html'} is the page, {out / 'compare.json'} holds the numbers")
    return 0


class Screen:
    """Says what is being done, and what came of it."""

    def began(self, piece: str, number: int, pieces: int) -> None:
        """A line."""
        print(f"[{number}/{pieces}] {piece}", flush=True)

    def ended(self, piece: str, result: AnyResult) -> None:
        """What is worth knowing at once."""
        if isinstance(result, Measured) and result.AP50 is not None and result.AP is not None:
            print(f"    AP50 {result.AP50:.3f}  AP {result.AP:.3f}", flush=True)
        if isinstance(result, Trained) and result.seconds:
            print("    " + "  ".join(f"{stage} {s:.0f} s" for stage, s in result.seconds.items()), flush=True)

    @contextmanager
    def training(self, folder: RunFolder) -> Iterator[Listener]:
        """As `rcnn train` shows it."""
        with TrainingProgress(folder.events) as listener:
            yield listener


def show(section: Section) -> None:
    """A table, the papers' columns in italics."""
    _console.print(f"\n{section.title}", style="bold")
    table = section.table.filled()
    heads = [f"paper: {column.name}" if column.paper else column.name for column in table.columns]
    published = [number for number, column in enumerate(table.columns) if column.paper]
    width = None if _console.is_terminal else WIDTH
    show_table(_console, heads, table.texts(), width, published, right=True)


def chosen_studies(flags: Mapping[str, bool], every: bool, methods: Sequence[str]) -> tuple[str, ...]:
    """The studies asked for by their flags; all that the methods allow where `every` is asked for."""
    return tuple(name for name, study in STUDIES.items() if flags[name] or (every and study.suits(methods)))


def pairs(texts: Sequence[str], sign: str, option: str, form: str, example: str) -> list[tuple[str, str]]:
    """Texts cut in two at their first `sign`; raises ConfigError, with an `example`, for one that has none."""
    cut = [(first.strip(), rest.strip()) for first, found, rest in (text.partition(sign) for text in texts)]
    for text, (first, rest) in zip(texts, cut, strict=True):
        if not (first and rest):
            raise ConfigError(f"{option} {text}: not {form}; write it like {option} {example}")
    return cut


def grouped(rows: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """The second parts by the first."""
    groups: dict[str, list[str]] = {}
    for key, value in rows:
        groups.setdefault(key, []).append(value)
    return groups
