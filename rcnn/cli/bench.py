"""`rcnn bench`."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from rcnn.bench.harness import Effort, Row, race
from rcnn.bench.machine import this_machine
from rcnn.bench.parts import PARTS, cases_of
from rcnn.bench.results import HEADS, Result, cells, record, write_json
from rcnn.cli import options as o
from rcnn.cli.tables import show_table
from rcnn.errors import ConfigError, DisagreementError
from rcnn.training.session import choose_device

WIDTH = 160
"""Of tables where there is no terminal."""
_console = Console(highlight=False, markup=False, emoji=False)

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[PART]...", help=f"Of {', '.join(PARTS)}; all unless given.")
]
Rounds = Annotated[int, typer.Option(min=1, help="How often each way is measured.")]
Seconds = Annotated[float, typer.Option(min=0, help="After three rounds a case takes no longer.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Of the processor; one a core unless given.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write all numbers here.")]
Page = Annotated[Path | None, typer.Option("--results", metavar="FILE", help="Put the tables into this page too.")]


def bench(
    parts: Names = None,
    rounds: Rounds = 20,
    seconds: Seconds = 60.0,
    threads: Threads = None,
    device: o.Device = "auto",
    json_file: Json = None,
    page: Page = None,
) -> int:
    """Measure this library's speed beside torchvision's, way against way, in turn.

    Ways that do not give the same are not timed: the command says what differs, and ends with status 1. What is
    measured is written after each case.
    """
    check_names(parts or ())
    torch.set_num_threads(threads or o.cores())
    where, effort = choose_device(device), Effort(rounds, seconds)
    machine, results, status = this_machine(where), [], 0
    _console.print(f"{machine.title}; {machine.threads} threads, commit {machine.commit}", soft_wrap=True)
    for part in parts or PARTS:
        rows: list[Row] = []
        results.append(Result(part, command(), machine, rows))
        for case in cases_of(part)(where):
            try:
                rows += race(case, effort, where)
            except DisagreementError as error:
                print(f"rcnn: {error}", file=sys.stderr)
                status = 1
                continue
            show(rows[-len(case.ways) :])
            keep(results, json_file, page)
    return status


def check_names(parts: Sequence[str]) -> None:
    """Raise ConfigError for a part that is none."""
    if unknown := [part for part in parts if part not in PARTS]:
        raise ConfigError(f"{unknown[0]}: no part of the benchmark; choose of {', '.join(PARTS)}")


def command() -> str:
    """What was typed, as it can be typed elsewhere: without the files that it writes."""
    words, kept = iter(sys.argv[1:]), ["rcnn"]
    for word in words:
        if word in ("--json", "--results"):
            next(words, None)
        elif not word.startswith(("--json=", "--results=")):
            kept.append(word)
    return shlex.join(kept)


def show(rows: Sequence[Row]) -> None:
    """A case."""
    shown = [cells(row) for row in rows]
    _console.print(f"\n{shown[0][0]} ({shown[0][-1]})", style="bold", soft_wrap=True)
    width = None if _console.is_terminal else WIDTH
    show_table(_console, HEADS[1:-1], [line[1:-1] for line in shown], width, right=True)


def keep(results: Sequence[Result], json_file: Path | None, page: Path | None) -> None:
    """Write down what is measured so far; a page shows a part's cases as they are now, and none from before."""
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        write_json(json_file, results)
    if page:
        record(page, results[-1])
