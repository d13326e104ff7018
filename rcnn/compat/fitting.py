"""Weights of other libraries, once renamed, in this library's networks: all of them, or none."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor, nn

from rcnn.errors import WeightsError, first_line

Rename = tuple[str, str | Callable[[re.Match[str]], str]]
"""A pattern, and what stands in its place."""


def renamed_by(name: str, renames: Iterable[Rename]) -> str:
    """A tensor's name after one replacement after the other."""
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


def load_exactly(model: nn.Module, name: str, renamed: Mapping[str, Tensor]) -> None:
    """Fill a network; raises WeightsError, beginning with `name`, where a tensor is missing, too many, or differs."""
    own = model.state_dict()
    wrong = [
        key
        for key in own.keys() | renamed.keys()
        if not key.endswith("num_batches_tracked")
        and (key not in own or key not in renamed or own[key].shape != renamed[key].shape)
    ]
    if wrong:
        more = f" and {len(wrong) - 1} more are" if len(wrong) > 1 else " is"
        raise WeightsError(
            f"{name}: the weights do not fit: {min(wrong)}{more} missing or different; "
            "pass the state dict of that model"
        )
    model.load_state_dict(renamed, strict=False)


@contextmanager
def read_from(file: Path | str | None, name: str) -> Iterator[None]:
    """What is wrong with the weights of the model `name` is told with the file that they came from, where there is one.

    Tensors that a file gives other sides than the network's fail anywhere on their way into it.
    """
    try:
        yield
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}" if file else str(error)) from error
    except (RuntimeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{file or name}: the weights do not fit {name} ({first_line(error)}); pass the state dict of that model"
        ) from error
