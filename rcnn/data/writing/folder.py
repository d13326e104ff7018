"""A folder that stands complete under its name, or not at all."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rcnn.errors import ConfigError

MARK = "rcnn-data.json"
"""The file by which a folder is known as one of ours, which alone may be overwritten."""
_VERSION = 1


def refuse(out: Path, overwrite: bool) -> None:
    """Raise ConfigError where the folder exists, unless it is empty, or ours and may be overwritten."""
    if any(place.exists() and not place.is_dir() for place in (out, *out.parents)):
        raise ConfigError(f"{out}: a file, or inside of one; give --out the name of a folder")
    if not out.exists() or not any(out.iterdir()):
        return
    if not overwrite:
        raise ConfigError(f"{out}: exists; give --out another name, or pass --overwrite")
    if not (out / MARK).is_file():
        raise ConfigError(
            f"{out}: not written by this command, so it is not overwritten; remove it or give another --out"
        )


def write_whole(out: Path, overwrite: bool, about: dict[str, Any], fill: Callable[[Path], None]) -> None:
    """Fill a folder under another name beside its own, then rename it; what stood there before goes last.

    `about` is written into the folder's mark. Raises ConfigError as `refuse`.
    """
    refuse(out, overwrite)
    out = Path(os.path.abspath(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    new, old = (out.with_name(f".{out.name}.{os.getpid()}.{word}") for word in ("new", "old"))
    try:
        new.mkdir()
        fill(new)
        (new / MARK).write_text(json.dumps({"format_version": _VERSION, **about}, indent=1) + "\n", "utf-8")
        if out.exists():
            out.replace(old)
        new.replace(out)
    except BaseException:
        if old.exists() and not out.exists():
            old.replace(out)
        raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
