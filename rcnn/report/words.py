"""Numbers and names as people write them."""

METHODS = {"rcnn": "R-CNN", "sppnet": "SPPnet", "fast-rcnn": "Fast R-CNN", "faster-rcnn": "Faster R-CNN"}
"""What the papers call the methods."""


def counted(number: int, word: str, words: str | None = None) -> str:
    """So many of something: `1 picture`, `2 pictures`; `words` is a plural that is not formed with an s."""
    return f"{number:,} {word if number == 1 else words or f'{word}s'}"


def amount(number: float) -> str:
    """A count that is read rather than reckoned with: `13.9 M`, and below a million every digit."""
    return f"{number / 1e6:,.1f} M" if number >= 1e6 else f"{number:,.0f}"


def or_dash(value: float | None, form: str = "g") -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None or value != value else format(value, form)  # noqa: PLR0124
