"""`rcnn bench`."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Literal

import torch
import typer
from rich.console import Console

from rcnn.bench.harness import Case, Closing, Effort, Row, race
from rcnn.bench.machine import this_machine
from rcnn.bench.memory import check_memory, working_memory
from rcnn.bench.parts import OTHERS, PARTS, cases_of, closing_of
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
Against = Annotated[Literal["torchvision", "detectron2"], typer.Option(help="The other library, which is installed.")]
Memory = Annotated[bool, typer.Option("--memory", help="Tell the memory that each way works in, too.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Of the processor; one a core unless given.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write all numbers here.")]
Page = Annotated[Path | None, typer.Option("--results", metavar="FILE", help="Put the tables into this page too.")]


def bench(
    parts: Names = None,
    rounds: Rounds = 20,
    seconds: Seconds = 60.0,
    against: Against = "torchvision",
    memory: Memory = False,
    threads: Threads = None,
    device: o.Device = "auto",
    json_file: Json = None,
    page: Page = None,
) -> int:
    """Measure this library's speed beside another's, way against way, in turn.

    Ways that do not give the same are not timed: the command says what differs, and ends with status 1. What is
    measured is written after each case.
    """
    check_names(parts or (), against)
    check_files({"--json": json_file, "--results": page})
    torch.set_num_threads(threads or o.cores())
    where = choose_device(device)
    if memory:
        check_memory(where)
    machine = this_machine(where)
    _console.print(f"{machine.title}; {machine.threads} threads, commit {machine.commit}", soft_wrap=True)
    run, kept = Run(Effort(rounds, seconds), where, memory, against), Kept(json_file, page)
    return max(
        [measure(Result(part, command(), machine, [], against=against), run, kept) for part in parts or OTHERS[against]]
    )


@dataclass(frozen=True)
class Run:
    """How everything is measured."""

    effort: Effort
    device: torch.device
    memory: bool
    against: str = "torchvision"

    def rows(self, part: str, number: int, case: Case) -> list[Row]:
        """A case, in seconds and, if asked for, in memory."""
        rows = race(case, self.effort, self.device)
        if not self.memory:
            return rows
        return [
            replace(row, memory=working_memory(part, self.against, number, n, self.device))
            for n, row in enumerate(rows)
        ]


def measure(result: Result, run: Run, kept: "Kept") -> int:
    """A part, case after case; the command's status."""
    rows: list[Row] = []
    errors: list[str] = []
    for number, case in enumerate(cases_of(result.part, run.against)(run.device)):
        try:
            rows += run.rows(result.part, number, case)
        except DisagreementError as error:
            errors.append(str(error))
            print(f"rcnn: {error}", file=sys.stderr)
            continue
        show(rows[-len(case.ways) :])
        kept.keep(replace(result, rows=rows))
    closing = closing_of(result.part) if run.against == "torchvision" else None
    if closing and rows:
        result = replace(result, rows=rows, notes=closing.notes(rows))
        _console.print("", *result.notes, sep="\n", soft_wrap=True)
        errors += (failures := closing.failures(rows))
        print(*(f"rcnn: {failure}" for failure in failures), sep="\n", end="\n" * bool(failures), file=sys.stderr)
        kept.close(result, closing)
    return int(bool(errors))


def check_names(parts: Sequence[str], against: str) -> None:
    """Raise ConfigError for a part that is none, or that is not measured against that library."""
    if unknown := [part for part in parts if part not in PARTS]:
        raise ConfigError(f"{unknown[0]}: no part of the benchmark; choose of {', '.join(PARTS)}")
    if missing := [part for part in parts if part not in OTHERS[against]]:
        raise ConfigError(f"{missing[0]}: not measured against {against}; choose of {', '.join(OTHERS[against])}")


def check_files(files: Mapping[str, Path | None]) -> None:
    """Make the folders of what will be written; raise ConfigError where that cannot be, before anything is measured."""
    for option, file in files.items():
        try:
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                with TemporaryFile(dir=file.parent):
                    pass
        except OSError as error:
            raise ConfigError(f"{option} {file}: cannot be written ({error.strerror}); give another place") from error


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


@dataclass
class Kept:
    """What is measured so far, written down after each case; a page shows none of a part's cases from before."""

    json_file: Path | None
    page: Path | None
    results: dict[str, Result] = field(default_factory=dict)

    def keep(self, result: Result) -> None:
        """A part as it is now."""
        self.results[result.part] = result
        if self.json_file:
            write_json(self.json_file, list(self.results.values()))
        if self.page:
            record(self.page, result)

    def close(self, result: Result, closing: Closing) -> None:
        """A part to its end: what it says as a whole, with a drawing beside the page."""
        if self.page:
            file = self.page.with_name(f"{result.part}-{result.machine.slug}.svg")
            closing.draw(result.rows, file)
            result = replace(result, notes=[*result.notes, f"![{result.title}]({file.name})"])
        self.keep(result)
