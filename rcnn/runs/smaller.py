"""Where a run that is made, not trained, or what a sweep over ranks finds, may be written."""

from pathlib import Path

from rcnn.errors import ConfigError
from rcnn.runs.folder import RunFolder

POINTS = "points.json"
"""Where a sweep keeps its points until it ends."""


def refuse_folder(out: Path, overwrite: bool, run: Path) -> None:
    """Raise ConfigError for a folder that cannot be written, or must not be."""
    if out.resolve() == run.resolve():
        raise ConfigError(f"--out {out}: the run itself, which would be lost; give another folder")
    if (out / POINTS).is_file() and not overwrite:
        raise ConfigError(
            f"{out}: exists; pass --resume to go on with the sweep in it, or --overwrite to replace what was written "
            "there before"
        )
    refuse_taken(out, overwrite)


def refuse_taken(out: Path, overwrite: bool) -> None:
    """The same, whatever it is made from."""
    if out.exists() and not overwrite:
        raise ConfigError(f"{out}: exists; pass --overwrite to replace what was written there before")
    RunFolder(out).refuse_existing(overwrite=True)
