"""What `rcnn bench` does and shows."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from rich.console import Console

from rcnn.bench.cases import cases_of, closing_of
from rcnn.bench.harness import Case, Closing, Effort, Row, race
from rcnn.bench.machine import this_machine
from rcnn.bench.memory import check_memory, working_memory
from rcnn.bench.results import HEADS, Result, cells, record, write_json
from rcnn.cli import options as o
from rcnn.cli.tables import show_table
from rcnn.errors import DisagreementError
from rcnn.training.session import choose_device

WIDTH = 160
"""Of tables where there is no terminal."""
_console = Console(highlight=False, markup=False, emoji=False)


def measure_all(
    parts: Sequence[str],
    effort: Effort,
    against: str,
    memory: bool,
    threads: int | None,
    device: str,
    kept: "Kept",
) -> int:
    """The parts in turn; the command's status."""
    torch.set_num_threads(threads or o.cores())
    where = choose_device(device)
    if memory:
        check_memory(where)
    machine = this_machine(where)
    _console.print(f"{machine.title}; {machine.threads} threads, commit {machine.commit}", soft_wrap=True)
    run = Run(effort, where, memory, against)
    return max([measure(Result(part, command(), machine, [], against=against), run, kept) for part in parts])


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

    def __post_init__(self) -> None:
        """Make the folders, which are known to be possible."""
        for file in (self.json_file, self.page):
            if file:
                file.parent.mkdir(parents=True, exist_ok=True)

    def keep(self, result: Result) -> None:
        """A part as it is now."""
        self.results[result.part] = result
        if self.json_file:
            write_json(self.json_file, list(self.results.values()))
        if self.page:
            record(self.page, result)

    def close(self, result: Result, closing: Closing) -> None:
        """A part to its end: what it says as a whole, with its drawing, if it has one, beside the page."""
        if self.page and closing.draw:
            file = self.page.with_name(f"{result.part}-{result.machine.slug}.svg")
            closing.draw(result.rows, file)
            result = replace(result, notes=[*result.notes, f"![{result.title}]({file.name})"])
        self.keep(result)
