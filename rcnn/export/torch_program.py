"""A program of torch.export as a file: for PyTorch without this library's models, and for compilers that read it."""

import json
from io import BytesIO
from pathlib import Path

import torch
from torch.export import ExportedProgram

from rcnn.export.metadata import KEY, Metadata
from rcnn.runs import write_bytes


def write_program(program: ExportedProgram, path: Path, metadata: Metadata) -> None:
    """Write a program, with the metadata as `rcnn.json` in it; whoever loads it imports `rcnn.ops` before."""
    content = BytesIO()
    torch.export.save(program, content, extra_files={f"{KEY}.json": json.dumps(metadata)})
    write_bytes(path, content.getvalue())
