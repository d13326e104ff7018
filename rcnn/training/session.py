"""A training run from its first epoch, or from where it stopped, to its last."""

import dataclasses
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from rcnn.data.class_folders import LabelledPicture
from rcnn.data.loader import Batches
from rcnn.errors import ConfigError, TrainingError
from rcnn.runs import RunFolder
from rcnn.runs.tensors import write_tensors
from rcnn.sample import Sample
from rcnn.training.averaging import Averaged
from rcnn.training.checkpoint import pack, unpack
from rcnn.training.loop import BadLossError, Progress, Trainer, validation_losses
from rcnn.training.patience import enough_patience

Row = dict[str, Any]
Evaluate = Callable[[], Mapping[str, float]]
_log = logging.getLogger(__name__)


@runtime_checkable
class Listener(Protocol):
    """Who wants to know how training goes."""

    def stage_started(self, name: str, number: int, stages: int) -> None:
        """Before the first epoch of a stage; stages are counted from 1."""

    def epoch_started(self, epoch: int, epochs: int, batches: int) -> None:
        """Before the first batch of an epoch."""

    def stepped(self, progress: Progress, lr: float) -> None:
        """After each batch."""

    def epoch_ended(self, rows: Sequence[Row], best: bool) -> None:
        """After an epoch, with its lines of metrics."""


class Stopped(KeyboardInterrupt):
    """Training was asked to stop, and its state is saved."""


@dataclass
class Session:
    """What one stage of gradient descent needs; `metadata` describes the model and the stage in the run's files."""

    trainer: Trainer
    model: nn.Module
    folder: RunFolder
    metadata: Mapping[str, Any]
    epochs: int
    train: Batches
    val: Batches | None
    evaluate: Evaluate | None
    listener: Listener
    progress: Progress = field(default_factory=Progress)
    best: float = -1.0
    best_epoch: int = 0
    judged: bool = True
    """Whether the best weights are kept beside the newest; a stage that does not end in a detector cannot be judged."""
    stage: str = ""
    """Its name, which its lines of metrics carry."""
    save_seconds: float = 600.0
    """Between saves of the newest state within an epoch."""
    averaged: Averaged | None = None
    """The mean of the weights, which is judged and kept in their place."""
    patience: int = 0
    """Epochs without a better score after which training stops; 0: none."""
    saved: float = field(default_factory=time.monotonic)
    asked: bool = field(default=False, init=False)
    """Whether it was asked to stop, be it so late that it came to its end."""

    def resume(self, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> None:
        """Take up a state of this stage."""
        unpack(tensors, self.model, self.trainer.optimizer, self.averaged)
        self.progress = Progress(**metadata["progress"])
        self.best, self.best_epoch = metadata["best"], metadata.get("best_epoch", self.progress.epoch - 1)
        self.folder.cut_metrics(self.stage, self.progress.epoch - 1)

    def run(self) -> None:
        """Train to the last epoch, or until patience ends. Raises Stopped after a signal, with the state saved.

        The model has the mean of its weights afterwards, where there is one.
        """
        if self.progress.step == 0 and self.progress.batches == 0:
            if self.averaged:
                self.averaged.begin()
            self._save_last()  # so that a run can go on from its first epoch too
        with stop_signals() as asked:
            while self.progress.epoch <= self.epochs and not self.stopped:
                self._epoch(asked)
            self.asked = asked.is_set()
        if self.averaged:
            self.averaged.adopt()
        if word := self.stopped or self._turned():
            _log.info("%s", word)

    @property
    def stopped(self) -> str:
        """Why training stops before its last epoch; empty where it goes on, or has come to its end."""
        done = self.progress.epoch - 1
        if not self.patience or not self.judged or done >= self.epochs or done - self.best_epoch < self.patience:
            return ""
        return (
            f"stopped after epoch {done} of {self.epochs}: no better AP in {self.patience} epochs than the "
            f"{self.best:.3f} of epoch {self.best_epoch}; --resume with a larger training.patience goes on"
        )

    def _turned(self) -> str:
        """Advice where the best weights are not among the newest; empty where they are, or patience was set."""
        rows = self.folder.metrics_rows() if self.judged and not self.patience else []
        enough = enough_patience([row["AP"] for row in rows if row["stage"] == self.stage and "AP" in row])
        if enough is None:
            return ""
        return (
            f"AP was best in epoch {self.best_epoch} of {self.epochs} ({self.best:.3f}), whose weights are kept; "
            f"--set training.patience={enough} stops a training that turned"
        )

    def _epoch(self, asked: threading.Event) -> None:
        progress = self.progress
        self.train.sampler.epoch = progress.epoch
        total = len(self.train)
        self.listener.epoch_started(progress.epoch, self.epochs, total)

        def on_step(now: Progress, lr: float) -> bool:
            self.listener.stepped(now, lr)
            if now.batches % self.trainer.accumulate == 0 and time.monotonic() - self.saved > self.save_seconds:
                self._save_last()
            return asked.is_set()

        with naming_pictures(self.train.samples):
            ended = self.trainer.run(self.train.epoch(progress.epoch, progress.batches), total, progress, on_step)
        if ended:
            self._close_epoch()
        if asked.is_set() and self.progress.epoch <= self.epochs:
            self._save_last()
            raise Stopped(f"stopped in epoch {self.progress.epoch}; the state is saved, go on with --resume")

    def _close_epoch(self) -> None:
        with self._judged_weights():
            rows = [self._train_row(), *self._val_rows()]
            score = float(rows[-1].get("AP", math.nan))
            if math.isnan(score):
                score = float(self.progress.epoch)  # nothing to judge by: the newest is the best
            improved = score > self.best and self.judged
            if score > self.best:
                self.best, self.best_epoch = score, self.progress.epoch
            if improved:
                write_tensors(self.folder.best, self.model.state_dict(), self.metadata)
        self.folder.append_metrics(rows)
        self.listener.epoch_ended(rows, improved)
        self.progress = Progress(epoch=self.progress.epoch + 1, step=self.progress.step)
        self._save_last()

    def _judged_weights(self) -> AbstractContextManager[None]:
        return self.averaged.in_place() if self.averaged else nullcontext()

    def _save_last(self) -> None:
        self.saved = time.monotonic()
        progress = {"progress": dataclasses.asdict(self.progress), "stopped": self.stopped}
        state = progress | {"best": self.best, "best_epoch": self.best_epoch}
        tensors = pack(self.model, self.trainer.optimizer, self.averaged)
        write_tensors(self.folder.last, tensors, {**self.metadata, **state})

    def _train_row(self) -> Row:
        progress, losses = self.progress, self.progress.losses()
        return {
            "stage": self.stage,
            "epoch": progress.epoch,
            "step": progress.step,
            "split": "train",
            "loss": sum(losses.values()),
            "losses": losses,
            "lr": self.trainer.rate(progress.step - 1),
            "images_per_second": progress.pictures / max(progress.seconds, 1e-9),
            "seconds": progress.seconds,
            "seconds_waiting_for_data": progress.waited,
        }

    def _val_rows(self) -> Iterator[Row]:
        if self.val is None or self.evaluate is None:
            return
        with naming_pictures(self.val.samples):  # before weights that give no numbers are saved
            batches = self.val.epoch(0)
            losses = validation_losses(self.trainer.objective, batches, self.trainer.device, self.progress)
        place = {"stage": self.stage, "epoch": self.progress.epoch, "step": self.progress.step, "split": "val"}
        row = place | {"loss": sum(losses.values()), "losses": losses}
        yield row | dict(self.evaluate()) if self.judged else row


@contextmanager
def naming_pictures(samples: Sequence[Sample] | Sequence[LabelledPicture]) -> Iterator[None]:
    """While this context lasts, a bad loss tells the names of its pictures."""
    try:
        yield
    except BadLossError as error:
        names = ", ".join(samples[index].id for index in error.indices)
        raise TrainingError(f"{error} (pictures {names}); lower --lr, or look at these pictures") from error


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second one of them interrupts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def choose_device(name: str) -> torch.device:
    """The device of that name; `auto` is the first GPU, or else the processor.

    Raises ConfigError for a name that is none, and for a device that is not there.
    """
    if name != "auto":
        try:
            device = torch.device(name)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:  # the latter from a torch that was built without CUDA
            raise ConfigError(f"--device {name}: no such device here; give auto, cpu, cuda, cuda:1 or mps") from error
        return device
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def computes_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bf16, so that it is faster there and not only smaller."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = device.type == "cpu" and torch.backends.mkldnn.is_available()
    return known and torch.ops.mkldnn._is_mkldnn_bf16_supported()
