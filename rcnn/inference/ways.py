"""Ways to look at a picture: at once, in tiles, or several times. What they are, without the network that looks."""

import math
from dataclasses import dataclass

from rcnn.errors import ConfigError

Window = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels of the picture; right and bottom exclusive."""


@dataclass(frozen=True)
class Tiles:
    """Squares of `side` pixels, of which neighbours share at least the part `overlap`.

    An object that is smaller than what neighbours share is whole in one of them. `whole`: whether the whole picture is
    looked at too, for what is larger. `nms`: IoU above which two detections of a class are one object.
    """

    side: int = 800
    overlap: float = 0.2
    whole: bool = True
    nms: float = 0.5

    def __post_init__(self) -> None:
        """Raise ConfigError for squares that cannot be laid."""
        if self.side < 1 or not 0 <= self.overlap < 1:
            raise ConfigError(f"tiles of {self.side} pixels, overlap {self.overlap}: give 1 or more, and 0 to below 1")

    def windows(self, size: tuple[int, int]) -> list[Window]:
        """The squares over a picture of that height and width, row by row, as few as serve, evenly laid."""
        rows, columns = (self._starts(extent) for extent in size)
        height, width = (min(self.side, extent) for extent in size)
        return [(x, y, x + width, y + height) for y in rows for x in columns]

    def _starts(self, extent: int) -> list[int]:
        """Where the squares begin along an axis."""
        room = max(0, extent - self.side)
        count = math.ceil(room / max(1.0, self.side * (1 - self.overlap)))
        return [round(room * number / max(1, count)) for number in range(count + 1)]


@dataclass(frozen=True)
class Views:
    """Short sides at which each picture is looked at (none: the detector's own), and whether mirrored too.

    `nms`: IoU above which two detections of a class are one object.
    """

    shorts: tuple[int, ...] = ()
    flip: bool = False
    nms: float = 0.5


@dataclass(frozen=True)
class Looks:
    """In tiles, or in several views; with neither once, as the detector was trained."""

    tiles: Tiles | None = None
    views: Views | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError for both."""
        if self.tiles and self.views:
            raise ConfigError("--tile: pieces are looked at once; leave --flip and --sizes out")
