"""What a model's file is, by its name or first bytes: known before a library reads it, and told when that fails."""

from pathlib import Path
from typing import Literal

Kind = Literal["empty", "archive", "pickle", "safetensors", "text", "unknown"]

EXPORTED = (".onnx", ".xml", ".pt2")
"""Suffixes of the files that `rcnn export` writes: ONNX, OpenVINO, torch."""
_WORDS: dict[Kind, str] = {
    "empty": "it is empty",
    "archive": "it is an archive as torch.save writes it",
    "pickle": "it is a pickle",
    "safetensors": "it is torn",
    "text": "it is text",
    "unknown": "its bytes are of no known form",
}
_LOOK = 512


def is_exported(source: Path | str) -> bool:
    """Whether a model's name is that of an exported file."""
    return Path(source).suffix.lower() in EXPORTED


def kind_of(path: Path) -> Kind:
    """What a file seems to be; raises OSError where it cannot be read.

    Safetensors begin with 8 bytes, the length of their header, and the header, which is JSON. Pickles of protocol 2
    and later begin with 0x80 and the protocol.
    """
    with path.open("rb") as file:
        start = file.read(_LOOK)
    if not start:
        return "empty"
    if start.startswith(b"PK\x03\x04"):
        return "archive"
    if start[0] == 0x80 and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pickle"
    if start[8:9] == b"{":
        return "safetensors"
    printable = all(byte >= 0x20 or byte in b"\t\n\f\r" for byte in start)
    return "text" if printable else "unknown"


def describe(path: Path) -> str:
    """The same in a few words."""
    return _WORDS[kind_of(path)]
