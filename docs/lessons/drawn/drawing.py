"""What a lesson's figure consists of: the drawing, its caption, and the numbers beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from torch import Tensor

GROUND = 0.55
"""How much white is mixed into a scene behind a drawing."""


@dataclass(frozen=True)
class Drawn:
    """A figure with its caption and, in Markdown, a table of what was measured; the table may be empty."""

    figure: Figure
    caption: str
    table: str = ""


def numbers_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(share: Tensor | float) -> str:
    """A share in words."""
    return f"{100 * float(share):.0f} %"
