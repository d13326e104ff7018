"""What it takes until anything can begin: imports and the command line's answers, each in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch

from rcnn.bench.harness import Case, Way
from rcnn.errors import last_line

QUICK, SOON = 0.5, 1.0
"""Seconds that the list of commands may take, and the help of one of them, or a word on what is missing."""
COMMANDS: Mapping[str, tuple[float, Sequence[tuple[str, int]]]] = {
    "start, help": (QUICK, [("--help", 0), ("--version", 0)]),
    "start, commands": (
        SOON,
        [
            *((f"{name} --help", 0) for name in ("train", "evaluate", "predict", "check", "bench")),
            ("train nowhere", 2),
            ("predict nowhere nothing.jpg --out nowhere", 2),
        ],
    ),
}
"""Command lines and the statuses that they end with, by case, with the seconds that each may take."""


def cases(device: torch.device) -> Iterator[Case]:
    """The library against torch alone; answers against the time that they may take."""
    # What loads a detector needs torchvision's networks, whose import takes about as long as torch's.
    for name, theirs, ours in (("nothing yet", "torch", "rcnn"), ("loading", "torch, torchvision", "rcnn; rcnn.load")):
        ways = (
            Way(f"import {theirs}", partial(python, "-c", f"import {theirs}")),
            Way(f"import {ours}", partial(python, "-c", f"import {ours}"), wanted=1 / 1.2),
        )
        yield Case(f"start, {name}", ways, lambda: python("-c", "import torch, rcnn; rcnn.load") or "all are there")
    for name, (patience, lines) in COMMANDS.items():
        ours_all = [Way(f"rcnn {line}", partial(rcnn, line, status), wanted=1) for line, status in lines]
        check = partial(answers, lines)
        yield Case(name, (Way(f"{patience:g} s", partial(time.sleep, patience)), *ours_all), check)


def answers(lines: Sequence[tuple[str, int]]) -> str:
    """Whether all command lines end as they should."""
    for line, status in lines:
        rcnn(line, status)
    return "all answer"


def rcnn(line: str, status: int) -> str:
    """Run a command line of ours."""
    return python("-m", "rcnn", *line.split(), status=status)


def python(*words: str, status: int = 0) -> str:
    """Run Python to its end; raises AssertionError where it ends with another status.

    It keeps the bytecode of what it imports, as installing does, whatever the environment says.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, env=kept)
    if done.returncode != status:
        raise AssertionError(f"{' '.join(words)}: status {done.returncode}: {last_line(done.stderr)}")
    return ""
