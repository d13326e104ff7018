"""Proposals on disk, and from there beside the samples that they belong to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open

from rcnn.errors import DataError
from rcnn.paths import refuse_missing_proposals
from rcnn.proposals.coco_results import read_coco_results
from rcnn.runs.tensors import write_tensors
from rcnn.sample import DataSet

FORMAT_VERSION = 1
KIND = "proposals"
_AGAIN = "make it anew with rcnn propose"


@dataclass(frozen=True)
class ProposalTable:
    """The proposals of some pictures, each picture's best first, in its own pixels, by `Sample.id`."""

    method: str
    settings: dict[str, Any]
    boxes: dict[str, Float[np.ndarray, "P 4"]]
    scores: dict[str, Float[np.ndarray, "P"]]
    file: str = "the file"
    """Where they were read from, for errors."""


def write_proposals(path: Path, table: ProposalTable) -> None:
    """Write a table as one safetensors file; the same table always gives the same bytes."""
    boxes = [np.asarray(table.boxes[key], np.float32).reshape(-1, 4) for key in table.boxes]
    scores = [np.asarray(table.scores[key], np.float32).reshape(-1) for key in table.boxes]
    tensors = {
        "boxes": torch.from_numpy(np.concatenate([*boxes, np.zeros((0, 4), np.float32)])),
        "scores": torch.from_numpy(np.concatenate([*scores, np.zeros(0, np.float32)])),
        "offsets": torch.tensor(np.cumsum([0, *map(len, boxes)]), dtype=torch.int64),
    }
    head = {"format_version": FORMAT_VERSION, "kind": KIND, "method": table.method, "settings": table.settings}
    write_tensors(path, tensors, head | {"keys": list(table.boxes)})


def read_proposals(path: Path, dataset: DataSet | None = None) -> ProposalTable:
    """Read proposals: a file that `write_proposals` wrote, or COCO results as JSON.

    COCO results name pictures by file or number, which takes the data set to tell; without one they keep these names.
    Raises DataError for a file that is missing, torn, of another kind or of a newer format.
    """
    refuse_missing_proposals(path)
    if path.suffix.lower() == ".json":
        return ProposalTable("coco-results", {}, *read_coco_results(path, dataset), str(path))
    arrays, metadata = _content(path)
    boxes, scores, offsets = (arrays.get(name, np.zeros(0)) for name in ("boxes", "scores", "offsets"))
    keys = metadata.get("keys", [])
    if not _consistent(boxes, scores, offsets, keys):
        raise DataError(f"{path}: its boxes, scores, offsets and keys do not fit together; {_AGAIN}")
    parts = offsets[1:-1]
    return ProposalTable(
        str(metadata.get("method", "unknown")),
        dict(metadata.get("settings", {})),
        dict(zip(keys, np.split(boxes, parts), strict=True)) if keys else {},
        dict(zip(keys, np.split(scores, parts), strict=True)) if keys else {},
        str(path),
    )


def attach(dataset: DataSet, table: ProposalTable, maximum: int | None = None) -> DataSet:
    """The data set with the best `maximum` proposals beside each sample.

    Raises DataError for a picture of which the table knows nothing.
    """
    splits = {}
    for name, samples in dataset.splits.items():
        for sample in samples:
            if sample.id not in table.boxes:
                raise DataError(
                    f"{sample.id}: has no proposals in {table.file}; make them for all of this data with rcnn propose"
                )
        splits[name] = [replace(sample, proposals=table.boxes[sample.id][:maximum]) for sample in samples]
    return replace(dataset, splits=splits)


def _content(path: Path) -> tuple[dict[str, np.ndarray], Mapping[str, Any]]:
    """The arrays and the metadata of a proposals file."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get("rcnn", "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path}: not a whole safetensors file ({error}); {_AGAIN}") from error
    if not isinstance(metadata, dict) or metadata.get("kind") != KIND:
        raise DataError(f"{path}: holds no proposals; give a file that rcnn propose wrote, or COCO results (.json)")
    found = metadata.get("format_version")
    if not isinstance(found, int) or found > FORMAT_VERSION:
        raise DataError(f"{path}: format {found}, and this version reads up to {FORMAT_VERSION}; upgrade rcnn")
    return arrays, metadata


def _consistent(boxes: np.ndarray, scores: np.ndarray, offsets: np.ndarray, keys: Any) -> bool:
    """Whether the parts of a file, which another program may have written, describe proposals."""
    return (
        boxes.dtype == scores.dtype == np.float32
        and boxes.shape == (len(scores), 4)
        and scores.ndim == offsets.ndim == 1
        and offsets.dtype == np.int64
        and isinstance(keys, list)
        and len(set(map(str, keys))) == len(keys) == len(offsets) - 1
        and (int(offsets[0]), int(offsets[-1])) == (0, len(boxes))
        and bool((np.diff(offsets) >= 0).all())
        and bool(np.isfinite(boxes).all() and (boxes[:, 2:] > boxes[:, :2]).all())
    )
