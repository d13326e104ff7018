"""Files that stand complete under their name or not at all, and what a file of tensors says of itself."""

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from rcnn.errors import WeightsError, first_line
from rcnn.model_files import describe, kind_of

FORMAT_VERSION = 1
KEY = "rcnn"
"""safetensors' metadata maps strings to strings: all of ours is one JSON text under this key."""


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write under a temporary name, flush to the disk, then rename: a crash leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata alone."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; give the folder of a run, which rcnn train makes")
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(KEY)
    except (SafetensorError, OSError) as error:
        raise _torn(path, error) from error
    metadata = _parsed(text)
    if metadata is None:
        raise WeightsError(f"{path}: a safetensors file, but not one of this library's runs; pass the folder of a run")
    if metadata["format_version"] > FORMAT_VERSION:
        raise WeightsError(
            f"{path}: format {metadata['format_version']}, and this version reads up to {FORMAT_VERSION}; upgrade rcnn"
        )
    return metadata


def _torn(path: Path, error: Exception) -> WeightsError:
    """Why a file is not read as a run, and what to do."""
    kind = "unreadable" if isinstance(error, OSError) else kind_of(path)
    if kind in ("archive", "pickle"):
        advice = f"a run's is; weights of another library's model go with its name, LIBRARY:NAME --weights {path.name}"
    else:
        advice = "train again or pass another run"
    said = first_line(error) if kind in ("safetensors", "unreadable") else describe(path)
    return WeightsError(f"{path}: not a whole safetensors file ({said}); {advice}")


def _parsed(text: str | None) -> dict[str, Any] | None:
    """The metadata in a text, or None if it is not ours."""
    try:
        metadata = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    ours = isinstance(metadata, dict) and isinstance(metadata.get("format_version"), int)
    return metadata if ours else None
