"""Pictures that are arrays of numbers: NumPy's files, and TIFF of any number of channels and bits."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rcnn.errors import DataError, first_line
from rcnn.sample import Pixels

NUMPY, TIFF = frozenset({".npy"}), frozenset({".tif", ".tiff"})
DTYPES = (np.uint8, np.uint16, np.float32)
"""What the numbers of a picture may be."""


def array_shape(path: Path) -> tuple[int, int, int]:
    """Height, width and channels of an array in a file, from its header alone; raises DataError for what is none."""
    with _told(path):
        if path.suffix.lower() in NUMPY:
            shape = _header(path).shape
            return _as_picture(path, shape)
        with _tifffile().TiffFile(path) as file:
            series = file.series[0]
            return tuple(_as_picture(path, series.shape)[n] for n in _order(series.axes, len(series.shape)))  # type: ignore[return-value]


def read_array(path: Path) -> Pixels:
    """The array in a file as [height, width, channels]; raises DataError for what is none.

    A TIFF's channels may be samples of a pixel or pages of equal size. Values are as they are stored.
    """
    with _told(path):
        if path.suffix.lower() in NUMPY:
            whole = np.array(_header(path))
            _as_picture(path, whole.shape)
            array = whole.reshape(*whole.shape[:2], -1)
        else:
            with _tifffile().TiffFile(path) as file:
                series = file.series[0]
                stored = series.asarray()
                _as_picture(path, stored.shape)
                whole = stored[..., None] if stored.ndim == 2 else stored
                array = whole.transpose(_order(series.axes, stored.ndim))
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype not in DTYPES:
        raise DataError(f"{path}: holds {array.dtype}; save it as uint8, uint16 or float32")
    return np.ascontiguousarray(array)


def _order(axes: str, dimensions: int) -> tuple[int, int, int]:
    """Where height, width and channels stand in a TIFF: axes such as YXS, SYX and CYX."""
    if dimensions == 2:
        return 0, 1, 2
    y, x = axes.find("Y"), axes.find("X")
    y, x = (y, x) if min(y, x) >= 0 else (0, 1)
    return y, x, 3 - y - x


def _as_picture(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) not in (2, 3):
        raise DataError(
            f"{path}: an array of {len(shape)} axes; a picture has (height, width) or (height, width, channels)"
        )
    return (*shape, 1)[:3]  # type: ignore[return-value]


def _header(path: Path) -> np.ndarray:
    """The array in a NumPy file, none of whose numbers are read yet; nothing is ever unpickled."""
    return np.load(path, mmap_mode="r", allow_pickle=False)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Whatever fails at a file becomes a DataError."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such picture; mend the path or remove what refers to it") from None
    except Exception as error:  # a broken file makes decoders raise nearly anything
        raise DataError(
            f"{path}: cannot be read as an array ({first_line(error)}); save it anew or remove it"
        ) from error


def _tifffile() -> Any:
    try:
        import tifffile
    except ImportError as error:
        raise DataError("a TIFF of such channels needs the extra tiff; pip install 'rcnn[tiff]'") from error
    return tifffile
