"""Numbers of boxes as text that is short and comes back as the same 32-bit floats."""

from collections.abc import Iterator
from decimal import Decimal

from rcnn.sample import Sample

Corners = tuple[Decimal, Decimal, Decimal, Decimal]


def corners(sample: Sample) -> Iterator[Corners]:
    """Each box (x1, y1, x2, y2), as the shortest decimal numbers that are these 32-bit floats."""
    for x1, y1, x2, y2 in sample.boxes:
        yield Decimal(str(x1)), Decimal(str(y1)), Decimal(str(x2)), Decimal(str(y2))


def plain(number: Decimal) -> str:
    """A number without exponent, and without zeros at its end."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def whole_or_real(number: Decimal) -> int | float:
    """A number as JSON writes it best."""
    return int(number) if number == int(number) else float(number)
