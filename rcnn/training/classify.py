"""Training a classifier: first its last layer on still features, then everything; the best is kept, and it resumes."""

import dataclasses
import io
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from rcnn.data.class_batches import ClassBatches, LabelledBatch, key_of
from rcnn.memory import keep_freed_memory
from rcnn.runs import write_bytes
from rcnn.runs.tensors import read_tensors, write_tensors
from rcnn.training.checkpoint import pack, unpack
from rcnn.training.cores import beside_workers
from rcnn.training.loop import Progress, Trainer
from rcnn.training.optim import OptimizerSettings, Schedule, make_optimizer
from rcnn.training.session import Listener, Stopped, naming_pictures, stop_signals

WEIGHT_DECAY = 1e-4
CLIP = 5.0


@dataclass(frozen=True)
class Phase:
    """Epochs with AdamW at the rate `lr`, which falls along a cosine; of the last layer alone, or of everything."""

    epochs: int
    lr: float
    last_only: bool


class ClassObjective(nn.Module):
    """How wrong a classifier is: the cross entropy. With `last_only` all but its `last` layer stays as it is."""

    def __init__(self, model: nn.Module, last: nn.Module, last_only: bool) -> None:
        super().__init__()
        self.model = model
        self.last = last
        self.last_only = last_only
        model.requires_grad_(not last_only)
        last.requires_grad_(True)

    def forward(self, images: Float[Tensor, "B 3 S S"], labels: Int[Tensor, "B"]) -> dict[str, Float[Tensor, ""]]:
        """The mean loss, by the name `class`."""
        return {"class": F.cross_entropy(self.model(images).float(), labels)}

    def train(self, mode: bool = True) -> "ClassObjective":
        """As any module, but what stays as it is keeps the statistics of its norms too, and drops nothing."""
        super().train(mode and not self.last_only)
        self.last.train(mode)
        return self


@dataclass
class ClassifierSession:
    """A classifier's way through its phases; `metadata` describes it in its files.

    The weights of the best epoch, by accuracy on `val`, stand in `out`; the newest state beside it until the end.
    """

    model: nn.Module
    last: nn.Module
    phases: Sequence[Phase]
    train: ClassBatches
    val: ClassBatches
    out: Path
    metadata: Mapping[str, Any]
    device: torch.device
    listener: Listener
    bf16: bool = False
    seed: int = 0
    progress: Progress = field(default_factory=Progress)
    best: float = -1.0
    trainer: Trainer | None = None
    """That of the phase begun last."""
    save_seconds: float = 600.0
    """Between saves of the newest state within an epoch."""
    saved: float = field(default_factory=time.monotonic)

    @property
    def epochs(self) -> int:
        """Of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    def resume(self) -> None:
        """Take up the newest state."""
        tensors, metadata = read_tensors(state_file(self.out))
        self.progress, self.best = Progress(**metadata["progress"]), metadata["best"]
        if not self._phase_begins(self.progress) and self.progress.epoch <= self.epochs:
            self.trainer = self._trainer()
        unpack(tensors, self.model, self.trainer.optimizer if self.trainer else None)

    def run(self) -> float:
        """Train to the last epoch and return the best accuracy; raises Stopped after a signal, with the state saved."""
        keep_freed_memory()
        if self.progress == Progress():
            self._save_last()  # so that a run can go on from its first epoch too
        with beside_workers(self.train.loader.num_workers, self.device), stop_signals() as asked:
            while self.progress.epoch <= self.epochs:
                if self.trainer is None or self._phase_begins(self.progress):
                    self.trainer = self._trainer()
                self._epoch(self.trainer, asked)
        state_file(self.out).unlink(missing_ok=True)
        return self.best

    def _phase_begins(self, progress: Progress) -> bool:
        return progress.step == 0 and progress.batches == 0

    def _phase(self, epoch: int) -> Phase:
        """The phase that an epoch belongs to."""
        each = [phase for phase in self.phases for _ in range(phase.epochs)]
        return each[epoch - 1]

    def _trainer(self) -> Trainer:
        phase = self._phase(self.progress.epoch)
        objective = ClassObjective(self.model, self.last, phase.last_only)
        optimizer = make_optimizer(self.model, OptimizerSettings("adamw", phase.lr, 0.9, WEIGHT_DECAY, new=()))
        steps = phase.epochs * len(self.train)
        schedule = Schedule(steps, min(100, steps // 10), None)
        return Trainer(objective, optimizer, schedule, phase.lr, self.device, self.bf16, clip=CLIP)

    def _epoch(self, trainer: Trainer, asked: threading.Event) -> None:
        progress, total = self.progress, len(self.train)
        self.listener.epoch_started(progress.epoch, self.epochs, total)

        def on_step(now: Progress, lr: float) -> bool:
            self.listener.stepped(now, lr)
            if time.monotonic() - self.saved > self.save_seconds:
                self._save_last()
            return asked.is_set()

        batches: Any = self._batches(progress)  # as those of detectors, but for what is in them
        with naming_pictures(self.train.samples):
            ended = trainer.run(batches, total, progress, on_step)
        if ended:
            self._close_epoch(trainer)
        if asked.is_set() and self.progress.epoch <= self.epochs:
            self._save_last()
            raise Stopped(f"stopped in epoch {self.progress.epoch}; the state is saved, go on with --resume")

    def _batches(self, progress: Progress) -> Iterator[LabelledBatch]:
        """The rest of an epoch; before each step torch's generators are set to what follows from its number.

        Dropout draws from them: so no state of theirs need be saved, on whatever device.
        """
        first = progress.batches
        for number, batch in enumerate(self.train.epoch(progress.epoch, first), start=first):
            torch.manual_seed(key_of(self.seed, progress.epoch, number))
            yield batch

    def _close_epoch(self, trainer: Trainer) -> None:
        progress, losses = self.progress, self.progress.losses()
        loss, accuracy = measure_classifier(self.model, self.val, self.device)
        shared = {"epoch": progress.epoch, "step": progress.step}
        train = {"split": "train", "loss": sum(losses.values()), "losses": losses, "seconds": progress.seconds}
        rate = {"lr": trainer.rate(progress.step - 1), "images_per_second": progress.pictures / progress.seconds}
        val = {"split": "val", "loss": loss, "losses": {"class": loss}, "accuracy": accuracy}
        improved = accuracy > self.best
        if improved:
            self.best = accuracy
            metadata = {**self.metadata, "accuracy": accuracy, "epoch": progress.epoch}
            write_weights(self.out, self.model.state_dict(), metadata)
        self.listener.epoch_ended([shared | train | rate, shared | val], improved)
        self.progress = self._next(progress)
        self._save_last()

    def _next(self, progress: Progress) -> Progress:
        """The beginning of the next epoch; each phase counts its own steps."""
        ends = [sum(phase.epochs for phase in self.phases[: n + 1]) for n in range(len(self.phases))]
        return Progress(epoch=progress.epoch + 1, step=0 if progress.epoch in ends else progress.step)

    def _save_last(self) -> None:
        self.saved = time.monotonic()
        optimizer = self.trainer.optimizer if self.trainer and not self._phase_begins(self.progress) else None
        state = {"progress": dataclasses.asdict(self.progress), "best": self.best}
        write_tensors(state_file(self.out), pack(self.model, optimizer), {**self.metadata, **state})


@torch.no_grad()
def measure_classifier(model: nn.Module, batches: ClassBatches, device: torch.device) -> tuple[float, float]:
    """The mean loss, and the part of the pictures whose class has the highest logit."""
    model.eval()
    loss, right, count = 0.0, 0, 0
    for item in batches.epoch(0):
        labels = item.targets.to(device)
        logits = model(item.batch.to(device))
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
        right += int((logits.argmax(1) == labels).sum())
        count += len(labels)
    return loss / count, right / count


def state_file(out: Path) -> Path:
    """Where the newest state of a training towards `out` stands."""
    return out.with_name(f"{out.stem}.state.safetensors")


def write_weights(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write a state dict whole, as its suffix says: `.pth` for torch, else safetensors with the metadata."""
    if path.suffix != ".pth":
        write_tensors(path, state, metadata)
        return
    buffer = io.BytesIO()
    torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, buffer)
    write_bytes(path, buffer.getvalue())
