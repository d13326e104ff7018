"""What an evaluation says."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Protocol = Literal["voc07", "voc", "coco"]
PerClass = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Evaluation:
    """Numbers between 0 and 1, NaN where there is no truth to measure against."""

    protocol: Protocol
    pictures: int
    metrics: dict[str, float]
    """`mAP` for voc07 and voc; `AP`, `AP50`, `AP75`, `AP_small` ..., `AR1` ... `AR100`, `AR_small` ... for coco."""
    per_class: PerClass
    """By class name: `AP`, and for coco `AP50` too."""
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The numbers as plain values for a JSON file; NaN becomes None. Warnings are for people and left out."""
        per_class = {name: _without_nan(numbers) for name, numbers in self.per_class.items()}
        head = {"protocol": self.protocol, "pictures": self.pictures}
        return head | _without_nan(self.metrics) | {"per_class": per_class}


def mean_known(values: Iterable[float]) -> float:
    """The mean of the values that are not NaN; NaN where there are none."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def plain(value: float) -> float | None:
    """A number for a JSON file: NaN becomes None."""
    return None if math.isnan(value) else float(value)


def _without_nan(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: plain(value) for name, value in numbers.items()}
