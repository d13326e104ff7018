"""What happens in a run, in TensorBoard's files and as log lines."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rcnn.training.loop import Progress

_log = logging.getLogger(__name__)


class Journal:
    """A listener that writes TensorBoard events and logs a line an epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def stage_started(self, name: str, number: int, stages: int) -> None:
        """Name the stage where there are several."""
        if stages > 1:
            _log.info("stage %d of %d: %s", number, stages, name)

    def epoch_started(self, epoch: int, epochs: int, batches: int) -> None:
        """Nothing: an epoch is worth a line when it is over."""

    def stepped(self, progress: Progress, lr: float) -> None:
        """Nothing: the epoch's means are written at its end."""

    def epoch_ended(self, rows: Sequence[dict[str, Any]], best: bool) -> None:
        """Write the epoch's numbers."""
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(self.folder)) as writer:
            for row in rows:
                for name, value in _scalars(row):
                    writer.add_scalar(f"{row['stage']}/{row['split']}/{name}", value, row["epoch"])
        for row in rows:
            _log.info("%s%s", describe(row), "  (best so far)" if best and row is rows[-1] else "")


def describe(row: dict[str, Any]) -> str:
    """A line of metrics for people."""
    losses = " ".join(f"{name} {value:.3f}" for name, value in row["losses"].items())
    learned = f"  loss {row['loss']:.3f} ({losses})" if losses else f"  {row['stage']}"
    scores = "".join(f"  {name} {row[name]:.3f}" for name in ("AP", "AP50") if name in row)
    speed = f"  {row['images_per_second']:.2f} pictures/s" if "images_per_second" in row else ""
    return f"epoch {row['epoch']} {row['split']:5}{learned}{scores}{speed}"


def _scalars(row: dict[str, Any]) -> list[tuple[str, float]]:
    skipped = {"stage", "epoch", "step", "split", "losses"}
    plain = [(name, float(value)) for name, value in row.items() if name not in skipped]
    return plain + [(f"loss_{name}", value) for name, value in row["losses"].items()]
