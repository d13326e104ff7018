"""What a file of features will hold: its layout and size, known from the boxes before a network has run."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rcnn.training.regions import Regions

MAGIC = b"RCNNFEAT"
FORMAT_VERSION = 1
ALIGN = 64  # bytes; every section begins at a multiple of it


def content_key(*parts: Any) -> str:
    """Hash what features depend on: arrays, plain values, lists and mappings of them; of a path, the file there."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(_content(part)).digest())
    return digest.hexdigest()


def _content(part: Any) -> bytes:
    if isinstance(part, np.ndarray):
        return f"array {part.dtype.str} {part.shape} ".encode() + np.ascontiguousarray(part).tobytes()
    if isinstance(part, Path):
        with part.open("rb") as file:
            return f"file {hashlib.file_digest(file, 'sha256').hexdigest()}".encode()
    if isinstance(part, Mapping):
        return b"mapping " + content_key(*(item for pair in sorted(part.items()) for item in pair)).encode()
    if isinstance(part, list | tuple):
        return b"list " + content_key(*part).encode()
    if part is None or isinstance(part, str | bool | int | float):
        return f"{type(part).__name__} {part!r}".encode()
    raise TypeError(f"no content key for a {type(part).__name__}; give its values")


@dataclass(frozen=True)
class FeaturePlan:
    """What a file of features will hold. All of it follows from the boxes; `key` names the rest (`content_key`)."""

    regions: Sequence[Regions]
    key: str
    vector_width: int
    """D: what the SVMs see of a region."""
    pooled_width: int = 0
    """E: what box regression sees of a proposal. With 0 there is no such section."""
    pooled_iou: float = 0.5
    """Pooled features are kept for proposals of at least this IoU with some true box."""
    dtype: Literal["float16", "float32"] = "float16"

    @property
    def nbytes(self) -> int:
        """The size of the file."""
        return self.offsets["end"]

    @property
    def size(self) -> str:
        """The same for people: to be announced before the file is begun."""
        return readable_bytes(self.nbytes)

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The index: what the file holds from its beginning."""
        parts = {name: [getattr(one, name) for one in self.regions] for name in ("boxes", "overlaps", "truth")}
        whole = {name: np.concatenate(arrays) for name, arrays in parts.items()}
        whole["difficult"] = np.concatenate([one.difficult for one in self.regions])
        chosen = [np.flatnonzero((one.truth == 0) & (one.overlaps.max(1) >= self.pooled_iou)) for one in self.regions]
        chosen = chosen if self.pooled_width else [rows[:0] for rows in chosen]
        whole["pooled_rows"] = np.concatenate(chosen)
        whole["first_row"] = np.cumsum([0, *map(len, self.regions)])
        whole["first_pooled"] = np.cumsum([0, *map(len, chosen)])
        types = {"boxes": "<f4", "overlaps": "<f4", "truth": "<i4", "difficult": "|b1"}
        return {name: array.astype(types.get(name, "<i8")) for name, array in whole.items()}

    @cached_property
    def sections(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Type and shape of each part of the file, in order."""
        stored = {"float16": "<f2", "float32": "<f4"}[self.dtype]
        index = {name: (array.dtype.str, array.shape) for name, array in self.arrays.items()}
        vectors = (stored, (len(self.arrays["truth"]), self.vector_width))
        pooled = (stored, (len(self.arrays["pooled_rows"]), self.pooled_width))
        progress = {"done": ("|b1", (len(self.regions),)), "seconds": ("<f4", (len(self.regions),))}
        return {**progress, **index, "vectors": vectors, "pooled": pooled}

    @cached_property
    def header(self) -> bytes:
        """The file's first bytes. Two plans of one header are of the same content."""
        text = json.dumps(
            {
                "format_version": FORMAT_VERSION,
                "key": self.key,
                "index": content_key(self.arrays),
                "pooled_iou": self.pooled_iou,
                "sections": self.sections,
            }
        ).encode()
        text += b" " * (-(len(MAGIC) + 8 + len(text)) % ALIGN)
        return MAGIC + len(text).to_bytes(8, "little") + text

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Where each section begins, and under `end` where the file ends."""
        places, place = {}, len(self.header)
        for name, (dtype, shape) in self.sections.items():
            places[name] = place
            place += -(-np.dtype(dtype).itemsize * prod(shape) // ALIGN) * ALIGN
        return places | {"end": place}


def readable_bytes(nbytes: int) -> str:
    """A number of bytes for people."""
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.1f} MB"
