"""Words for data and its pictures that commands take as functions do."""

from pathlib import Path
from typing import Literal

Format = Literal["voc", "coco", "yolo", "csv"]
"""How a data set is written."""
Policy = Literal["fail", "drop"]
"""What to do about defective boxes and pictures."""
FILM_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv"})
CAMERA = "camera:"
"""`camera:0` is the first camera of the machine."""


def is_film(name: str) -> bool:
    """Whether a command's argument is a film, by its suffix, or a camera or stream, by its beginning."""
    return name.startswith((CAMERA, "rtsp://", "http://", "https://")) or Path(name).suffix.lower() in FILM_SUFFIXES
