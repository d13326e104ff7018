"""A program of torch.export as a file: for PyTorch without this library's models, and for compilers that read it."""

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import torch
from torch.export import ExportedProgram

from rcnn.runtime import METADATA


def to_bytes(program: ExportedProgram, metadata: Mapping[str, Any]) -> bytes:
    """The file's content, with the metadata as `rcnn.json`; whoever loads it imports `rcnn.ops` before."""
    content = BytesIO()
    torch.export.save(program, content, extra_files={f"{METADATA}.json": json.dumps(metadata)})
    return content.getvalue()
