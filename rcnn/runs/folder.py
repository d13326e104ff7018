"""A run's folder, and what of it is known without its tensors."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcnn.errors import ConfigError, WeightsError
from rcnn.runs.files import read_metadata, write_text

REPRODUCED = "reproduce.json"
"""What `rcnn reproduce` says of a run, in its folder."""


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

    def stored(self, resume: bool, overwrite: bool) -> Mapping[str, Any] | None:
        """What a run that goes on says of itself; None for one that begins, which needs its folder free."""
        if resume and overwrite:
            raise ConfigError("--resume and --overwrite: give one of them")
        if resume:
            return self.state()
        self.refuse_existing(overwrite)
        return None

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
        exported = (self.best.with_suffix(suffix) for suffix in (".onnx", ".xml", ".bin", ".pt2"))
        for file in (*files, *exported, self.report, self.figures, *self.path.glob("proposals-*.safetensors")):
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
