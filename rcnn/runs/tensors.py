"""A run's tensors on disk, with plain metadata; apart from the rest, because all of it needs torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from rcnn.runs.files import FORMAT_VERSION, KEY, read_metadata, write_bytes


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and plain metadata as one safetensors file."""
    text = json.dumps({"format_version": FORMAT_VERSION, **metadata})
    # A channels-last tensor is contiguous in its own order only; the file keeps values, not layouts.
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(content, {KEY: text}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote; raises WeightsError for anything else, and for formats newer than this one."""
    metadata = read_metadata(path)
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
