"""The points of a sweep that are measured so far, on disk, so that hours of it are not lost."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rcnn.errors import ConfigError
from rcnn.report.sweep import SweepPoint
from rcnn.runs import write_text


@dataclass
class KeptPoints:
    """Points in the file `path`; `about` is what they depend on, and without a path nothing is kept."""

    path: Path | None = None
    about: dict[str, Any] = field(default_factory=dict)
    points: list[SweepPoint] = field(default_factory=list)

    def read(self) -> None:
        """Take up what another process has measured; raises ConfigError where it measured something else."""
        if self.path is None or not self.path.is_file():
            return
        try:
            content = json.loads(self.path.read_text("utf-8"))
            about, points = content["about"], [SweepPoint.from_json(values) for values in content["points"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self.path}: holds no points of a sweep ({error}); begin anew with --overwrite"
            ) from error
        changed = [key for key, value in self.about.items() if about.get(key) != value]
        if changed:
            raise ConfigError(
                f"--resume: the sweep in {self.path.parent} began with another {changed[0]}; "
                "give the same, or begin anew with --overwrite"
            )
        self.points = points

    def find(self, ranks: dict[str, int]) -> SweepPoint | None:
        """The point of these ranks, if it is measured."""
        return next((point for point in self.points if point.ranks == ranks), None)

    def add(self, point: SweepPoint) -> None:
        """Keep a point."""
        self.points.append(point)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            rows: Sequence[dict[str, Any]] = [one.to_json() for one in self.points]
            write_text(self.path, json.dumps({"about": self.about, "points": rows}, indent=1) + "\n")
