"""A run on disk. Whatever is written stands complete under its name, or not at all."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rcnn.errors import ConfigError, WeightsError, first_line
from rcnn.model_files import describe, kind_of

FORMAT_VERSION = 1
REPRODUCED = "reproduce.json"
"""What `rcnn reproduce` says of a run, in its folder."""
_KEY = "rcnn"  # safetensors' metadata maps strings to strings: all of ours is one JSON text under this key


@dataclass(frozen=True)
class RunFolder:
    """The files of a run."""

    path: Path

    @property
    def best(self) -> Path:
        """The best weights, with all that is needed to predict in their metadata."""
        return self.path / "model.safetensors"

    @property
    def last(self) -> Path:
        """The newest state, with all that is needed to go on training."""
        return self.path / "last.safetensors"

    @property
    def config(self) -> Path:
        """The settings, for people."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """One JSON object a line, two lines an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def splits(self) -> Path:
        """Which pictures were in which split, by sample id."""
        return self.path / "splits.json"

    @property
    def initial(self) -> Path:
        """The weights that training began with, for schemes that come back to them."""
        return self.path / "initial.safetensors"

    @property
    def features(self) -> Path:
        """Features of all regions, from which SVMs and box regressors are solved for."""
        return self.path / "features.bin"

    @property
    def report(self) -> Path:
        """The page that says how good the run is and what to do next."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """The same figures for programs."""
        return self.path / "report.json"

    def proposals(self, stage: str) -> Path:
        """What the network itself proposed before a stage."""
        return self.path / f"proposals-{stage}.safetensors"

    @property
    def truncated(self) -> Path:
        """The run that `rcnn reproduce` makes of this one by truncation."""
        return self.path / "svd"

    @property
    def events(self) -> Path:
        """TensorBoard's files."""
        return self.path / "events"

    def state(self) -> dict[str, Any]:
        """The metadata of the newest state; raises WeightsError where there is none to go on with."""
        if self.best.is_file() and not self.last.is_file():
            raise WeightsError(
                f"{self.path}: was compressed or converted (it has no {self.last.name}) and cannot be resumed; "
                "resume the run that it was made from, or begin from it with --from"
            )
        return read_metadata(self.last)

    def refuse_existing(self, overwrite: bool) -> None:
        """Raise ConfigError if the folder exists, unless it may be overwritten."""
        if self.path.exists() and not overwrite:
            raise ConfigError(f"{self.path}: exists; pass --resume to go on with it, or --overwrite to begin anew")
        if any(place.exists() and not place.is_dir() for place in (self.path, *self.path.parents)):
            raise ConfigError(f"{self.path}: a file, or inside of one; give --out the name of a folder")

    def create(self, overwrite: bool) -> None:
        """Make the folder; with `overwrite` one that exists loses the files of the run before."""
        self.refuse_existing(overwrite)
        self._clear()
        self.path.mkdir(parents=True, exist_ok=True)

    def _clear(self) -> None:
        """Remove what a run writes; anything else in the folder is somebody's and stays."""
        files = (self.last, self.best, self.config, self.metrics, self.splits, self.initial, self.features)
        for file in (*files, self.report, self.figures, *self.path.glob("proposals-*.safetensors")):
            file.unlink(missing_ok=True)
            for unfinished in self.path.glob(f".{file.name}.*"):  # by a writer that was killed
                unfinished.unlink()
        for file in self.events.glob("events.out.tfevents.*"):
            file.unlink()
        if (self.truncated / REPRODUCED).is_file():
            RunFolder(self.truncated)._clear()
        (self.path / REPRODUCED).unlink(missing_ok=True)

    def append_metrics(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add lines to the metrics."""
        kept = self.metrics.read_text("utf-8") if self.metrics.exists() else ""
        write_text(self.metrics, kept + "".join(json.dumps(row) + "\n" for row in rows))

    def metrics_rows(self) -> list[dict[str, Any]]:
        """The lines of the metrics; none where there are none yet."""
        text = self.metrics.read_text("utf-8") if self.metrics.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def cut_metrics(self, stage: str, epoch: int) -> None:
        """Drop the lines of a stage after `epoch`: they were written by epochs whose weights were not saved."""
        if self.metrics.exists():
            rows = [(line, json.loads(line)) for line in self.metrics.read_text("utf-8").splitlines(keepends=True)]
            kept = [line for line, row in rows if row["stage"] != stage or row["epoch"] <= epoch]
            write_text(self.metrics, "".join(kept))


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write under a temporary name, flush to the disk, then rename: a crash leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and plain metadata as one safetensors file."""
    text = json.dumps({"format_version": FORMAT_VERSION, **metadata})
    # A channels-last tensor is contiguous in its own order only; the file keeps values, not layouts.
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(content, {_KEY: text}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote; raises WeightsError for anything else, and for formats newer than this one."""
    metadata = read_metadata(path)
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata alone."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; give the folder of a run, which rcnn train makes")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
    except (SafetensorError, OSError) as error:
        raise _torn(path, error) from error
    metadata = _parsed(text)
    if metadata is None:
        raise WeightsError(f"{path}: a safetensors file, but not one of this library's runs; pass the folder of a run")
    if metadata["format_version"] > FORMAT_VERSION:
        raise WeightsError(
            f"{path}: format {metadata['format_version']}, and this version reads up to {FORMAT_VERSION}; upgrade rcnn"
        )
    return metadata


def _torn(path: Path, error: Exception) -> WeightsError:
    """Why a file is not read as a run, and what to do."""
    kind = "unreadable" if isinstance(error, OSError) else kind_of(path)
    if kind in ("archive", "pickle"):
        advice = f"a run's is; weights of another library's model go with its name, LIBRARY:NAME --weights {path.name}"
    else:
        advice = "train again or pass another run"
    said = first_line(error) if kind in ("safetensors", "unreadable") else describe(path)
    return WeightsError(f"{path}: not a whole safetensors file ({said}); {advice}")


def _parsed(text: str | None) -> dict[str, Any] | None:
    """The metadata in a text, or None if it is not ours."""
    try:
        metadata = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    ours = isinstance(metadata, dict) and isinstance(metadata.get("format_version"), int)
    return metadata if ours else None
