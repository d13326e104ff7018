"""What an exported detector is calibrated on: the inputs that it will see, picture by picture."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

import numpy as np
from jaxtyping import Shaped

from rcnn.errors import ConfigError

Feed = Mapping[str, Shaped[np.ndarray, "..."]]
"""The inputs of an exported detector by name: one batch."""
CALIBRATION = 100
"""Pictures that are calibrated on unless told otherwise."""


def some(feeds: Iterable[Feed]) -> Iterator[Feed]:
    """The feeds, one after the other; raises ConfigError at once where there are none."""
    rest = iter(feeds)
    first = next(rest, None)
    if first is None:
        raise ConfigError("--int8: no pictures to calibrate on; give data whose training split has some")
    return chain([first], rest)
