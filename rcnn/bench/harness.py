"""How this library measures speed: several ways to do the same work, in turn, once they have given the same."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch

from rcnn.errors import DisagreementError

Goal = tuple[float | None, float | None]
"""How many times as fast as another, and within how many seconds; None where nothing is asked."""


@dataclass(frozen=True)
class Way:
    """One way to do the work of a case, at least `wanted` times as fast as the first, `within` so many seconds."""

    name: str
    run: Callable[[], object]
    wanted: float | None = None
    within: float | None = None


@dataclass(frozen=True)
class Case:
    """Work that can be done in several ways; the first of them is what the others are held against.

    `check` says in a few words how near they come; it raises AssertionError where that is not near enough. `facts` are
    what makes two measurements comparable: numbers of boxes, of detections.
    """

    name: str
    ways: Sequence[Way]
    check: Callable[[], str]
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Effort:
    """Each way is run `rounds` times, but after three rounds no longer than `seconds` for the whole case."""

    rounds: int = 20
    seconds: float = 60.0


@dataclass(frozen=True)
class Row:
    """What one way took, in seconds, and its ratios: seconds of the first way over its own, round by round."""

    case: str
    way: str
    median: float
    least: float
    most: float
    ratio: float
    ratio_least: float
    ratio_most: float
    wanted: float | None
    rounds: int
    agreement: str
    facts: Mapping[str, float]
    memory: float | None = None
    """MiB that it works in, where measured."""
    within: float | None = None

    @property
    def reached(self) -> bool:
        """Whether it is as fast as wanted."""
        quick = self.wanted is None or self.ratio >= self.wanted
        return quick and (self.within is None or self.median <= self.within)


@dataclass(frozen=True)
class Closing:
    """What the rows of a whole part say together: in words, what of it must not be, and perhaps drawn into a file."""

    notes: Callable[[Sequence[Row]], list[str]]
    failures: Callable[[Sequence[Row]], list[str]] = lambda rows: []
    draw: Callable[[Sequence[Row], Path], None] | None = None


def race(case: Case, effort: Effort, device: torch.device) -> list[Row]:
    """The ways of a case in turn (A B A B), after each has run once; raises DisagreementError before any is timed."""
    try:
        with exact_convolutions():
            agreement = case.check()
    except AssertionError as error:
        reason = " ".join(str(error).split())
        raise DisagreementError(f"{case.name}: the ways do not agree, so none is timed: {reason}") from error
    for way in case.ways:
        seconds_of(way.run, device)
    times: list[list[float]] = []
    ends = time.perf_counter() + effort.seconds
    while len(times) < min(3, effort.rounds) or (len(times) < effort.rounds and time.perf_counter() < ends):
        times.append([seconds_of(way.run, device) for way in case.ways])
    return [_row(case, place, times, agreement) for place in range(len(case.ways))]


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """While results are compared: a GPU's convolutions in single precision would else keep ten bits of their inputs."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """How long a piece of work takes, to the end of what it has started on the device."""
    finish(device)
    began = time.perf_counter()
    work()
    finish(device)
    return time.perf_counter() - began


def finish(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _row(case: Case, place: int, times: Sequence[Sequence[float]], agreement: str) -> Row:
    way, own = case.ways[place], [row[place] for row in times]
    ratios = [row[0] / row[place] for row in times]
    return Row(
        case.name,
        way.name,
        median(own),
        min(own),
        max(own),
        median(ratios),
        min(ratios),
        max(ratios),
        way.wanted,
        len(times),
        agreement,
        dict(case.facts),
        within=way.within,
    )
