"""From the name of a part of the benchmark to its cases."""

from collections.abc import Callable, Iterator
from importlib import import_module

import torch

from rcnn.bench.harness import Case, Closing
from rcnn.bench.parts import OTHERS

Cases = Callable[[torch.device], Iterator[Case]]


def cases_of(part: str, against: str = "torchvision") -> Cases:
    """What makes the cases of a part, each when the one before has been timed."""
    return import_module(OTHERS[against][part]).cases


def closing_of(part: str) -> Closing | None:
    """What the cases of a part say together, of one that has something to say."""
    return getattr(import_module(f"rcnn.bench.{part}"), "CLOSING", None)
