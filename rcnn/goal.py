"""What is asked of the scores from which detections are shown."""

from dataclasses import dataclass
from typing import Literal, get_args

from rcnn.errors import ConfigError

Quantity = Literal["precision", "recall"]


@dataclass(frozen=True)
class Goal:
    """What is asked of each class: at least so much precision, or so much recall, at IoU 0.5."""

    quantity: Quantity
    value: float

    def __str__(self) -> str:
        return f"{self.quantity}={self.value:g}"


def parse_goal(text: str) -> Goal:
    """`precision=0.95` or `recall=0.9`; raises ConfigError for anything else."""
    quantity, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if quantity not in get_args(Quantity) or not 0 < number <= 1:
        raise ConfigError(f"--threshold-for {text}: give precision=P or recall=R, above 0 and at most 1")
    return Goal(quantity, number)  # type: ignore[arg-type]
