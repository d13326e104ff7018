"""How far a command is with its pictures: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

EVERY = 20.0
"""Seconds between two lines where there is no terminal."""


@contextmanager
def counting(count: int, what: str, console: Console) -> Iterator[Callable[[], object]]:
    """While this context lasts, each call tells that one more of `count` is done."""
    if not console.is_terminal:
        yield _lines(count, what)
        return
    with Progress(console=console) as bar:
        task = bar.add_task(what, total=count)
        yield lambda: bar.advance(task)


def _lines(count: int, what: str) -> Callable[[], None]:
    """Lines on the error stream, so that what a command answers stays by itself."""
    done, told = 0, time.monotonic()

    def step() -> None:
        nonlocal done, told
        done += 1
        if time.monotonic() - told >= EVERY:
            told = time.monotonic()
            print(f"{what}: {done} of {count} pictures", file=sys.stderr, flush=True)

    return step
