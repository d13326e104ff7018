"""What it takes until anything can begin: imports and the command line's help, each in a process of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator

import torch

from rcnn.bench.harness import Case, Way

PATIENCE = 0.5
"""Seconds that a help text may take."""


def cases(device: torch.device) -> Iterator[Case]:
    """The library against torch alone; the help against half a second."""
    yield Case(
        "start, import",
        (
            Way("import torch", lambda: python("-c", "import torch")),
            Way("import rcnn", lambda: python("-c", "import rcnn"), wanted=1 / 1.2),
            Way("import rcnn, rcnn.load", lambda: python("-c", "import rcnn; rcnn.load"), wanted=1 / 1.2),
        ),
        lambda: python("-c", "import torch, rcnn; rcnn.load") or "all are there",
    )
    yield Case(
        "start, help",
        (
            Way("half a second", lambda: time.sleep(PATIENCE)),
            Way("rcnn --help", lambda: python("-m", "rcnn", "--help"), wanted=1),
            Way("rcnn train --help", lambda: python("-m", "rcnn", "train", "--help"), wanted=1),
        ),
        lambda: python("-m", "rcnn", "--help") or "it helps",
    )


def python(*words: str) -> str:
    """Run Python to its end; raises AssertionError where it fails."""
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(words)}: {done.stderr.strip().splitlines()[-1:]}")
    return ""
