"""Reading pickles that others wrote, without running what they say: arrays, numbers, texts and their containers."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from rcnn.errors import WeightsError, first_line
from rcnn.model_files import describe, kind_of

_ADMITTED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("_codecs", "encode"),  # how Python 3 writes an array's bytes in pickles that Python 2 shall read
    ("collections", "OrderedDict"),
}


class _Arrays(pickle.Unpickler):
    """Admits NumPy's arrays; any other name in the pickle is an error before it is looked up."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, and only arrays are admitted")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays by name of a pickle of detectron2's model zoo; raises WeightsError for anything else.

    Arrays of objects would bring the pickle's own ideas along: they are refused too.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; pass a .pkl or .pth file of detectron2")
    try:
        with path.open("rb") as stream:
            content = _Arrays(stream, encoding="latin1").load()
    except Exception as error:  # a broken pickle raises nearly anything
        told = isinstance(error, OSError) or kind_of(path) == "pickle"
        reason = first_line(error) if told else describe(path)
        raise WeightsError(f"{path}: cannot be read as arrays ({reason}); pass a file of detectron2's zoo") from error
    table = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(table, dict):
        raise WeightsError(f"{path}: holds no table of arrays by name; pass a file of detectron2's model zoo")
    arrays = {str(name): value for name, value in table.items() if isinstance(value, np.ndarray)}
    if not arrays or any(value.dtype.hasobject for value in arrays.values()):
        raise WeightsError(f"{path}: holds no plain arrays by name; pass a file of detectron2's model zoo")
    held = {id(value): value.nbytes for value in arrays.values()}
    if sum(held.values()) > path.stat().st_size:  # an array may be made without any content
        raise WeightsError(f"{path}: its arrays claim more numbers than it holds; pass a file of detectron2's zoo")
    return arrays
