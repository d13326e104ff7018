"""What an exported detector is calibrated on: the inputs that it will see, picture by picture."""

from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped

from rcnn.errors import ConfigError

Feed = Mapping[str, Shaped[np.ndarray, "..."]]
"""The inputs of an exported detector by name: one batch."""
CALIBRATION = 100
"""Pictures that are calibrated on unless told otherwise."""


@runtime_checkable
class Feeds(Protocol):
    """What is gone through as often as need be: a list, or what makes each feed anew when its turn comes."""

    def __len__(self) -> int:
        """How many there are."""

    def __iter__(self) -> Iterator[Feed]:
        """The feeds, one after the other, always the same."""


def refuse_none(feeds: Feeds) -> None:
    """Raise ConfigError where there are no feeds."""
    if not len(feeds):
        raise ConfigError("--int8: no pictures to calibrate on; give data whose training split has some")
