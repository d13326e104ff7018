"""What `rcnn compare` does and shows."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console

from rcnn.api.compare import STUDIES, Asked, make_plan
from rcnn.api.compare import compare as run_comparison
from rcnn.api.compare.record import AnyResult, Measured, Trained
from rcnn.cli import options as o
from rcnn.cli.progress import TrainingProgress
from rcnn.cli.tables import show_table
from rcnn.report.compare import Section
from rcnn.runs import RunFolder
from rcnn.training.session import Listener

WIDTH = 120
"""Of tables where there is no terminal."""
_console = Console(highlight=False, markup=False, emoji=False)  # class names may hold brackets and colons


def asked_for(options: Mapping[str, Any]) -> Asked:
    """The command's options, by name, as the library takes them."""
    flags = {name: options[_FLAGS.get(name, name)] for name in STUDIES}
    special = {
        "studies": chosen_studies(flags, options["all_studies"], options["methods"]),
        "given": {method: Path(path) for method, path in options["given"]},
        "sets": options["sets"] or (),
        "sets_for": grouped(options["sets_for"]),
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


def grouped(rows: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """The second parts by the first."""
    groups: dict[str, list[str]] = {}
    for key, value in rows:
        groups.setdefault(key, []).append(value)
    return groups
