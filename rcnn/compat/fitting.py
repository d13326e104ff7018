"""Weights of other libraries, once renamed, in this library's networks: all of them, or none."""

import re
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor, nn

from rcnn.errors import WeightsError

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
