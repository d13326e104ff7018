"""Features of regions on disk: one memory-mapped file that is resumed by picture. docs/svm.md describes it."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from rcnn.errors import ConfigError, DataError, TrainingError
from rcnn.training.feature_plan import FORMAT_VERSION, MAGIC, FeaturePlan, readable_bytes
from rcnn.training.regions import Regions


class FeatureFile:
    """The features of all pictures. A file of the same plan is continued; one of another plan is begun anew."""

    def __init__(self, path: Path, plan: FeaturePlan) -> None:
        """Raises ConfigError where the disk is too small, DataError for a file of another kind or a newer format."""
        self.path = path
        self.pooled_iou = plan.pooled_iou
        if not _holds(path, plan):
            _begin(path, plan)
        whole = np.memmap(path, np.uint8, "r+")
        self._map = whole
        self._sections = {name: _section(whole, plan, name) for name in plan.sections}

    def __len__(self) -> int:
        return len(self._sections["done"])

    @property
    def done(self) -> Bool[np.ndarray, "N"]:
        """Which pictures' features are written."""
        return self._sections["done"].copy()

    @property
    def seconds(self) -> float:
        """How long the features took that are written, whichever process wrote them."""
        return float(self._sections["seconds"][self._sections["done"]].sum(dtype=np.float64))

    @property
    def all_vectors(self) -> Float[np.ndarray, "R D"]:
        """The vectors of all pictures; `first_row` says where each begins."""
        return _read_only(self._sections["vectors"])

    @property
    def all_pooled(self) -> Float[np.ndarray, "M E"]:
        """The pooled features of all pictures; `first_pooled` says where each begins."""
        return _read_only(self._sections["pooled"])

    @property
    def first_row(self) -> Int[np.ndarray, "starts"]:
        """Where each picture's rows begin in `all_vectors`, and at last where they end."""
        return _read_only(self._sections["first_row"])

    @property
    def first_pooled(self) -> Int[np.ndarray, "starts"]:
        """The same for `all_pooled`."""
        return _read_only(self._sections["first_pooled"])

    def regions(self, picture: int) -> Regions:
        """What the plan said of a picture."""
        rows = slice(*self.first_row[picture : picture + 2])
        return Regions(*(self._sections[name][rows].copy() for name in ("boxes", "overlaps", "truth", "difficult")))

    def pooled_rows(self, picture: int) -> Int[np.ndarray, "M"]:
        """Which of a picture's regions have pooled features, in the order of these."""
        return self._sections["pooled_rows"][slice(*self.first_pooled[picture : picture + 2])].copy()

    def vectors(self, picture: int) -> Float[np.ndarray, "R D"]:
        """A picture's vectors, as they lie on the disk."""
        return self.all_vectors[slice(*self.first_row[picture : picture + 2])]

    def pooled(self, picture: int) -> Float[np.ndarray, "M E"]:
        """A picture's pooled features, as they lie on the disk."""
        return self.all_pooled[slice(*self.first_pooled[picture : picture + 2])]

    def write(
        self, picture: int, vectors: Float[np.ndarray, "R D"], pooled: Float[np.ndarray, "M E"], seconds: float = 0.0
    ) -> None:
        """Store a picture's features, which took so many seconds.

        Raises TrainingError for numbers that are not finite in the file's type.
        """
        self._put("vectors", slice(*self.first_row[picture : picture + 2]), picture, vectors)
        self._put("pooled", slice(*self.first_pooled[picture : picture + 2]), picture, pooled)
        self._sections["seconds"][picture] = seconds
        self._map.flush()  # first the features, then their mark: a crash between the two costs one picture
        self._sections["done"][picture] = True

    def _put(self, name: str, rows: slice, picture: int, values: np.ndarray) -> None:
        place = self._sections[name][rows]
        if values.shape != place.shape:
            raise ValueError(f"picture {picture}: {name} of shape {values.shape} where {place.shape} was planned")
        with np.errstate(over="ignore"):
            place[...] = values
        if not np.isfinite(place).all():
            raise TrainingError(
                f"{self.path}: picture {picture}: {name} are too large for {place.dtype} or no numbers, "
                "as of a network that diverged; begin anew with a lower --lr or with pretrained weights"
            )

    def require_done(self) -> None:
        """Raise ValueError unless every picture is written."""
        missing = len(self) - int(self.done.sum())
        if missing:
            raise ValueError(f"{self.path}: {missing} of {len(self)} pictures have no features yet; write them first")


def scale_to_norm(features: Callable[[int], np.ndarray], pictures: int, norm: float) -> float:
    """What features are multiplied with so that their mean norm is `norm` (R-CNN's code: rcnn_scale_features).

    The mean is over at most 200 rows of each of at most 200 pictures, evenly spaced, so it is always the same.
    """
    norms = []
    for picture in _spaced(pictures).tolist():
        rows = features(picture)
        norms.append(np.linalg.norm(rows[_spaced(len(rows))].astype(np.float64), axis=1))
    found = np.concatenate(norms) if norms else np.zeros(0)
    return norm / float(found.mean()) if found.any() else 1.0


def _spaced(count: int) -> Int[np.ndarray, "N"]:
    return np.linspace(0, count - 1, min(count, 200)).round().astype(np.int64)


def _section(whole: np.memmap, plan: FeaturePlan, name: str) -> np.ndarray:
    dtype, shape = plan.sections[name]
    start = plan.offsets[name]
    stop = start + np.dtype(dtype).itemsize * prod(shape)
    return np.asarray(whole[start:stop]).view(dtype).reshape(shape)


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def _holds(path: Path, plan: FeaturePlan) -> bool:
    """Whether the file there is this plan's."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        begin = file.read(len(MAGIC) + 8)
        text = file.read(min(int.from_bytes(begin[len(MAGIC) :], "little"), 2**20))
    try:
        version = json.loads(text)["format_version"] if begin.startswith(MAGIC) else None
    except (ValueError, KeyError, TypeError):
        version = None
    if version is None:
        raise DataError(f"{path}: not a file of features; move it away or name another file")
    if version > FORMAT_VERSION:
        raise DataError(f"{path}: format {version}, and this version reads up to {FORMAT_VERSION}; upgrade rcnn")
    return begin + text == plan.header and path.stat().st_size == plan.nbytes


def _begin(path: Path, plan: FeaturePlan) -> None:
    """Make the file with its index and room for all features; it takes its name when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.begun")
    temporary.unlink(missing_ok=True)
    free = shutil.disk_usage(path.parent).free + (path.stat().st_size if path.exists() else 0)
    if plan.nbytes > free:
        raise _too_small(path, plan, f"has {readable_bytes(free)} free")
    path.unlink(missing_ok=True)
    try:
        _allocate(temporary, plan.nbytes)
        whole = np.memmap(temporary, np.uint8, "r+")
        whole[: len(plan.header)] = np.frombuffer(plan.header, np.uint8)
        for name, array in plan.arrays.items():
            _section(whole, plan, name)[...] = array
        whole.flush()
        del whole  # some systems rename no file that is mapped
        temporary.replace(path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _too_small(path, plan, "became full") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _allocate(path: Path, nbytes: int) -> None:
    """A file of zeros whose room is taken now: writing through a map into a full disk would kill the process."""
    with path.open("wb") as file:
        file.truncate(nbytes)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, nbytes)


def _too_small(path: Path, plan: FeaturePlan, state: str) -> ConfigError:
    return ConfigError(f"{path}: features take {plan.size} and the disk {state}; free some or use fewer proposals")
