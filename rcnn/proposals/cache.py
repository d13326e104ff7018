"""Proposals that were computed before, one small file for each picture and setting."""

import os
import sys
import zipfile
import zlib
from hashlib import blake2b
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float

from rcnn.errors import ConfigError
from rcnn.proposals import selective_search as ss
from rcnn.runs import write_bytes

METHOD_VERSION = 1
"""To be raised when the same picture and settings give other proposals than before."""


def cache_folder() -> Path:
    """$RCNN_CACHE, or `rcnn` in the folder that the system has for a user's caches."""
    if given := os.environ.get("RCNN_CACHE"):
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "rcnn" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "rcnn"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rcnn"


def entry_of(cache: Path, picture: ss.RGB, mode: ss.Mode) -> Path:
    """The file for the proposals of a picture: named by the hash of its pixels and of all that shapes the result."""
    constants = (ss.WIDTH, ss.LEAST_SIDE, ss.SIGMA, ss.SEGMENT_SIZES[mode], ss.ALIKE[mode])
    settings = (METHOD_VERSION, mode, constants, ss.opencv().__version__, sys.platform, picture.shape)
    digest = blake2b(picture.tobytes(), digest_size=20, salt=b"proposals")
    digest.update(repr(settings).encode())
    name = digest.hexdigest()
    return cache / "proposals" / name[:2] / f"{name[2:]}.npz"


def load_entry(entry: Path) -> Float[np.ndarray, "P 4"] | None:
    """The boxes in a file; None where there is none, or not a whole one (the format has a checksum)."""
    try:
        with np.load(BytesIO(entry.read_bytes()), allow_pickle=False) as content:
            boxes = content["boxes"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return boxes if boxes.dtype == np.float32 and boxes.ndim == 2 and boxes.shape[1] == 4 else None


def store_entry(entry: Path, boxes: Float[np.ndarray, "P 4"]) -> None:
    """Write the boxes, whole or not at all; raises ConfigError where the folder cannot be written."""
    content = BytesIO()
    np.savez_compressed(content, boxes=boxes)
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(entry, content.getvalue())
    except OSError as error:
        raise ConfigError(
            f"{entry.parent}: cannot be written ({error.strerror}); set RCNN_CACHE to another folder"
        ) from error
