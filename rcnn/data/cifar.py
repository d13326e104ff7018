"""CIFAR-10 as it is published for Python: pickled files, read without letting a pickle run anything."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rcnn.data.class_folders import ClassData, LabelledPicture, draw_val
from rcnn.errors import DataError, first_line

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32


def is_cifar10(folder: Path) -> bool:
    """Whether the folder holds CIFAR-10's files."""
    return (folder / "data_batch_1").is_file()


def read_cifar10(folder: Path) -> ClassData:
    """The pictures of `data_batch_1` and so on to learn from, those of `test_batch` (else 15 %) to measure by.

    Raises DataError for a file that is not such a batch, whatever it would do if it were unpickled.
    """
    train = [picture for path in sorted(folder.glob("data_batch_*")) for picture in read_batch(path)]
    if (folder / "test_batch").is_file():
        return ClassData(train, read_batch(folder / "test_batch"), CLASS_NAMES)
    return ClassData(*draw_val(train, len(CLASS_NAMES), str(folder)), CLASS_NAMES)


def read_batch(path: Path) -> list[LabelledPicture]:
    """The pictures of one file; rows of 3,072 bytes, red, green, blue, with labels 0..9."""
    try:
        with path.open("rb") as file:
            content = PlainUnpickler(file, encoding="bytes").load()
    except Exception as error:  # a broken or hostile pickle raises nearly anything
        raise DataError(f"{path}: not a file of CIFAR-10 ({first_line(error)}); download it anew") from error
    rows, labels = _field(content, "data"), _field(content, "labels")
    if (
        not isinstance(rows, np.ndarray)
        or rows.shape[1:] != (3 * SIDE * SIDE,)
        or not isinstance(labels, list)
        or len(labels) != len(rows)
        or not all(type(label) is int and 0 <= label < 10 for label in labels)
    ):
        raise DataError(f"{path}: not a file of CIFAR-10 (no rows of 3,072 bytes with labels 0..9); download it anew")
    pictures = rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return [LabelledPicture(f"{path.name}/{n}", pictures[n], label) for n, label in enumerate(labels)]


class PlainUnpickler(pickle.Unpickler):
    """Reads dicts, lists, strings, numbers and arrays of bytes; whatever else a pickle names is refused.

    Not even NumPy's own functions are called: a made-up state could lead them outside the memory of an array.
    """

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of one of the four names that pickled arrays refer to."""
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return _STAND_INS[module, name]


class _Array:
    """Collects what a pickle says of an array, and becomes that array where it is of plain bytes."""

    def __init__(self, *_: object) -> None:
        self.values: np.ndarray | None = None

    def __setstate__(self, state: tuple[int, tuple[int, ...], object, bool, bytes]) -> None:
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _Bytes) or not isinstance(raw, bytes):
            raise pickle.UnpicklingError("it holds an array of something else than bytes")
        self.values = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


class _Bytes:
    """Stands for the type of NumPy's bytes; no other type is known."""

    def __init__(self, name: str | bytes, *_: object) -> None:
        if name not in ("u1", b"u1", "uint8", b"uint8"):
            raise pickle.UnpicklingError(f"it holds an array of {name!r}")

    def __setstate__(self, state: object) -> None:
        """Byte order and alignment say nothing of bytes."""


def _latin1(text: str, _: str) -> bytes:
    """How Python 3 writes bytes into a pickle that Python 2 can read."""
    return text.encode("latin1")


_STAND_INS: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Bytes,
    ("_codecs", "encode"): _latin1,
}


def _field(content: object, name: str) -> object:
    """An entry of the file's table; its names are bytes, or text in files that Python 3 wrote."""
    value = content.get(name.encode(), content.get(name)) if isinstance(content, dict) else None
    return value.values if isinstance(value, _Array) else value
