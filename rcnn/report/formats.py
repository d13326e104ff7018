"""What plots can be written as."""

from pathlib import Path

from rcnn.errors import ConfigError

FORMATS = (".png", ".svg", ".pdf")


def check_format(path: Path) -> None:
    """Raise ConfigError for a name whose suffix is of no kind of picture that can be drawn."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(
            f"{path}: a plot cannot be written as this; give --out a name that ends in .png, .svg or .pdf"
        )
