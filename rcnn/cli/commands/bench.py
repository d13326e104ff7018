"""`rcnn bench`."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from rcnn.bench.parts import NEEDED, OTHERS, PARTS
from rcnn.cli import options as o
from rcnn.errors import ConfigError

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[PART]...", help=f"Of {', '.join(PARTS)}; all unless given.")
]
Rounds = Annotated[int, typer.Option(min=1, help="How often each way is measured.")]
Seconds = Annotated[float, typer.Option(min=0, help="After three rounds a case takes no longer.")]
Against = Annotated[Literal["torchvision", "detectron2"], typer.Option(help="The other library, which is installed.")]
Memory = Annotated[bool, typer.Option("--memory", help="Tell the memory that each way works in, too.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Of the processor; one a core unless given.")]
Page = Annotated[
    Path | None,
    typer.Option("--results", metavar="FILE", callback=o.writable, help="Put the tables into this page too."),
]


def bench(
    parts: Names = None,
    rounds: Rounds = 20,
    seconds: Seconds = 60.0,
    against: Against = "torchvision",
    memory: Memory = False,
    threads: Threads = None,
    device: o.Device = "auto",
    json_file: o.NumbersFile = None,
    page: Page = None,
) -> int:
    """Measure this library's speed beside another's, way against way, in turn.

    Ways that do not give the same are not timed: the command says what differs, and ends with status 1. What is
    measured is written after each case.
    """
    chosen = chosen_parts(parts or (), against)
    from rcnn.bench.harness import Effort
    from rcnn.cli.bench import Kept, measure_all

    effort, kept = Effort(rounds, seconds), Kept(json_file, page)
    return measure_all(chosen, effort, against, memory, threads, device, kept)


def chosen_parts(parts: Sequence[str], against: str) -> list[str]:
    """The parts in the order in which they are measured; of all, those for which all packages are there.

    Raises ConfigError for a part that is none, that is not measured against that library, or that lacks a package.
    """
    if unknown := [part for part in parts if part not in PARTS]:
        raise ConfigError(f"{unknown[0]}: no part of the benchmark; choose from {', '.join(PARTS)}")
    if missing := [part for part in parts if part not in OTHERS[against]]:
        raise ConfigError(f"{missing[0]}: not measured against {against}; choose from {', '.join(OTHERS[against])}")
    lacking = {part: [name for name in NEEDED.get(part, ()) if find_spec(name) is None] for part in OTHERS[against]}
    for part, names in lacking.items():
        if names and part in parts:
            raise ConfigError(f"{part}: needs {', '.join(names)}; pip install {' '.join(names)}")
        if names and not parts:
            print(f"rcnn: {part}: left out, for it needs {', '.join(names)}", file=sys.stderr)
    return [part for part in PARTS if part in (parts or OTHERS[against]) and not lacking.get(part)]
