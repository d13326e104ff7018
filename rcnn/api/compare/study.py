"""What a study is, and what studies share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rcnn.api.compare.methods import millis, percent
from rcnn.api.compare.pieces import Piece
from rcnn.api.compare.plan import Plan
from rcnn.api.compare.record import Measured, Record
from rcnn.report.compare import Section
from rcnn.report.compare_plots import Bars


@dataclass(frozen=True)
class Study:
    """A question of the papers, asked anew: the pieces that answer it, and the answer."""

    name: str
    methods: tuple[str, ...]
    """What it can be asked of."""
    every: bool
    """Whether it takes all of them, or any."""
    pieces: Callable[[Plan], list[Piece]]
    """Raises ConfigError where the settings leave it no question."""
    section: Callable[[Plan, Record], Section]

    @property
    def option(self) -> str:
        """What asks for it on the command line; --proposals names a file there."""
        return "--proposals-study" if self.name == "proposals" else f"--{self.name}"

    def suits(self, methods: Sequence[str]) -> bool:
        """Whether these methods are enough for it."""
        return (all if self.every else any)(method in methods for method in self.methods)


def paired_bars(
    title: str, caption: str, labels: Sequence[str], own: list[float | None], paper: list[float | None]
) -> Bars:
    """mAP here, and the papers' below it where they have any."""
    series = {"here": own} | ({"paper": paper} if any(value is not None for value in paper) else {})
    return Bars(title, caption, tuple(labels), series, "mAP (VOC 07), %")


def accuracy(found: Measured) -> tuple[float | None, float | None]:
    """mAP of VOC 2007 and AP50, in percent."""
    return percent(found.mAP), percent(found.AP50)


def picture_ms(found: Measured) -> float | None:
    """Milliseconds of a picture, without proposals from outside."""
    seconds = found.seconds
    return None if seconds is None else millis((seconds.proposals or 0.0) + seconds.convolutions + seconds.regions)


def regions_ms(found: Measured) -> float | None:
    """Milliseconds of what comes after the convolutions and the proposals."""
    return None if found.seconds is None else millis(found.seconds.regions)
