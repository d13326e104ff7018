"""What it takes until anything can begin: imports and the command line's help, each in a process of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

import torch

from rcnn.bench.harness import Case, Way

PATIENCE = 0.5
"""Seconds that a help text may take."""


def cases(device: torch.device) -> Iterator[Case]:
    """The library against torch alone; the help against half a second."""
    # What loads a detector needs torchvision's networks, whose import takes about as long as torch's.
    for name, theirs, ours in (("nothing yet", "torch", "rcnn"), ("loading", "torch, torchvision", "rcnn; rcnn.load")):
        ways = (
            Way(f"import {theirs}", partial(python, "-c", f"import {theirs}")),
            Way(f"import {ours}", partial(python, "-c", f"import {ours}"), wanted=1 / 1.2),
        )
        yield Case(f"start, {name}", ways, lambda: python("-c", "import torch, rcnn; rcnn.load") or "all are there")
    yield Case(
        "start, help",
        (
            Way("half a second", lambda: time.sleep(PATIENCE)),
            Way("rcnn --help", lambda: python("-m", "rcnn", "--help"), wanted=1),
            Way("rcnn train --help", lambda: python("-m", "rcnn", "train", "--help")),
        ),
        lambda: python("-m", "rcnn", "--help") or "it helps",
    )


def python(*words: str) -> str:
    """Run Python to its end; raises AssertionError where it fails."""
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(words)}: {done.stderr.strip().splitlines()[-1:]}")
    return ""
