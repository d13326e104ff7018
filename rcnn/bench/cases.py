"""From the name of a part of the benchmark to its cases."""

from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import islice

import torch

from rcnn.bench.harness import Case, Closing
from rcnn.bench.parts import OTHERS

Cases = Callable[[torch.device], Iterator[Case]]


def cases_of(part: str, against: str = "torchvision") -> Cases:
    """What makes the cases of a part, each when the one before has been timed."""
    return import_module(OTHERS[against][part]).cases


def case_of(part: str, against: str, number: int, device: torch.device) -> Iterator[Case]:
    """Case `number` of a part alone, counted from 0: files that it reads are there as long as the iterator is."""
    make = getattr(import_module(OTHERS[against][part]), "case", None)
    if make is not None:
        yield make(number, device)
        return
    cases = cases_of(part, against)(device)
    yield next(islice(cases, number, None))


def closing_of(part: str) -> Closing | None:
    """What the cases of a part say together, of one that has something to say."""
    return getattr(import_module(f"rcnn.bench.{part}"), "CLOSING", None)
