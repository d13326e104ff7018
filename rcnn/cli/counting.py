"""A bar over pictures, on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress


@contextmanager
def counting(count: int, what: str, console: Console) -> Iterator[Callable[[], object]]:
    """While this context lasts, a bar that each call moves on by one; nothing is drawn where there is no terminal."""
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=count)
        yield lambda: bar.advance(task)
