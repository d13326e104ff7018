"""A run on disk. Whatever is written stands complete under its name, or not at all."""

from rcnn.runs.files import FORMAT_VERSION, read_metadata, write_bytes, write_text
from rcnn.runs.folder import REPRODUCED, RunFolder

__all__ = ["FORMAT_VERSION", "REPRODUCED", "RunFolder", "read_metadata", "write_bytes", "write_text"]
