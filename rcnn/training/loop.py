"""One epoch: batches in, smaller losses out."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from rcnn.acceleration.graphs import Capture, Graphed
from rcnn.data.loader import TruthBatch
from rcnn.errors import TrainingError
from rcnn.structures import Batch, Targets
from rcnn.training.optim import Schedule

T = TypeVar("T")


@dataclass
class Progress:
    """How far an epoch has come; what is needed to go on in the middle of one."""

    epoch: int = 1
    batches: int = 0
    """Batches done of this epoch."""
    step: int = 0
    """Moves of the weights since training began."""
    pictures: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    """Losses by name, summed over the pictures of this epoch."""
    seconds: float = 0.0
    """Spent on this epoch."""
    waited: float = 0.0
    """Seconds of them spent waiting for pictures."""

    def losses(self) -> dict[str, float]:
        """Mean losses so far."""
        return {name: total / max(1, self.pictures) for name, total in self.sums.items()}


@dataclass
class Group:
    """Batches whose gradients are added up: together they teach what one batch of all their pictures would."""

    places: int = 0
    pictures: int = 0

    def share(self, item: TruthBatch, parts: int) -> float:
        """What the gradient of a batch counts, one of so many; less where some of its places are empty."""
        if parts == 1:
            return 1.0
        places = len(item.targets.keys)
        self.places, self.pictures = parts * places, self.pictures + len(item.indices)
        return len(item.indices) / self.places

    def missing(self) -> float:
        """What the sum must be multiplied with for the places that were empty."""
        return self.places / self.pictures if self.pictures else 1.0


OnStep = Callable[[Progress, float], bool]
"""Called after each batch with the rate; True asks to stop."""


@dataclass
class Trainer:
    """Moves an objective's weights."""

    objective: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    lr: float
    device: torch.device
    bf16: bool = False
    accumulate: int = 1
    clip: float = 0.0
    still: Sequence[nn.Module] = ()
    """Parts of the objective in which nothing trains: their norms keep their statistics."""
    after_move: Callable[[], object] = lambda: None
    """Called whenever the weights have moved."""
    capture: Capture[dict[str, Tensor]] | None = None
    """What records forward and backward passes, to repeat them as CUDA graphs."""

    def __post_init__(self) -> None:
        self.learn: Callable[[Batch, Targets, Tensor], dict[str, Tensor]] = self._pass
        if self.capture is not None:
            self.learn = Graphed(self._pass, leaving_no_trace(self.objective, self.capture))

    def run(self, batches: Iterable[TruthBatch], total: int, progress: Progress, on_step: OnStep) -> bool:
        """Go through the rest of an epoch of `total` batches; False if asked to stop before its end.

        Raises TrainingError when a loss is not finite, naming it and the pictures.
        """
        self.objective.train()
        for part in self.still:
            part.eval()
        began, group = time.perf_counter(), Group()
        for item in batches:
            loaded = time.perf_counter()
            progress.waited += loaded - began
            parts = min(self.accumulate, total - progress.batches // self.accumulate * self.accumulate)
            losses = self._backward(item, group.share(item, parts))
            self._count(progress, losses, item)
            if progress.batches % self.accumulate == 0 or progress.batches == total:
                self._move(progress, item, group.missing())
                progress.step += 1
                group = Group()
            progress.seconds += time.perf_counter() - began
            began = time.perf_counter()
            moved = progress.batches % self.accumulate == 0
            if on_step(progress, self.rate(progress.step)) and moved and progress.batches < total:
                return False
        return True

    def rate(self, step: int) -> float:
        """The learning rate at a step."""
        return self.lr * self.schedule.factor(step)

    def _backward(self, item: TruthBatch, share: float) -> dict[str, Tensor]:
        batch, targets = item.on(self.device)
        return self.learn(batch, targets, torch.full((), share, device=self.device))

    def _pass(self, batch: Batch, targets: Targets, share: Tensor) -> dict[str, Tensor]:
        """The losses of a batch; `share` of their gradient is added to that of the weights."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            losses: dict[str, Tensor] = self.objective(batch, targets)
        (torch.stack(list(losses.values())).sum() * share).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def _count(self, progress: Progress, losses: dict[str, Tensor], item: TruthBatch) -> None:
        pictures = len(item.indices)
        for name, value in values_of(losses).items():
            if not math.isfinite(value):
                raise BadLossError(progress, f"loss {name}", value, item.indices)
            progress.sums[name] = progress.sums.get(name, 0.0) + value * pictures
        progress.pictures += pictures
        progress.batches += 1

    def _move(self, progress: Progress, item: TruthBatch, missing: float = 1.0) -> None:
        if missing != 1:
            gradients = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
            torch._foreach_mul_(gradients, missing)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(progress.step) * group.get("factor", 1.0)
        if self.clip:
            parameters = (p for group in self.optimizer.param_groups for p in group["params"])
            norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.clip))
            if not math.isfinite(norm):  # a finite loss can have an infinite slope
                raise BadLossError(progress, "the gradient's norm", norm, item.indices)
        self.optimizer.step()
        self.after_move()
        self.optimizer.zero_grad(set_to_none=self.capture is None)  # graphs write where the gradients were


def values_of(losses: Mapping[str, Tensor]) -> dict[str, float]:
    """The losses as numbers, with one wait for the device."""
    return dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))


def leaving_no_trace(objective: nn.Module, capture: Capture[T]) -> Capture[T]:
    """A capture of training passes, whose runs to warm up neither teach nor use up chance.

    Gradients, the statistics of norms and the generators come out of it as they went in. Gradients that were not there
    are zero afterwards, for a graph adds to them where they are; a parameter without one goes on without.
    """

    def traceless(work: Callable[[], T]) -> tuple[Callable[[], object], T]:
        gradients = [(p, None if p.grad is None else p.grad.clone()) for p in objective.parameters()]
        buffers = [(buffer, buffer.clone()) for buffer in objective.buffers()]
        try:
            with torch.random.fork_rng(range(torch.cuda.device_count())):
                return capture(work)
        finally:  # also of a capture that fails: the work then runs as it is
            for buffer, before in buffers:
                buffer.copy_(before)
            for parameter, gradient in gradients:
                if parameter.grad is not None:
                    parameter.grad.copy_(torch.zeros_like(parameter) if gradient is None else gradient)

    return traceless


class BadLossError(TrainingError):
    """A loss or gradient that is not finite, and the pictures that it came from."""

    def __init__(self, progress: Progress, what: str, value: float, indices: tuple[int, ...]) -> None:
        super().__init__(f"epoch {progress.epoch}, step {progress.step}: {what} is {value}")
        self.indices = indices


@torch.no_grad()
def validation_losses(
    objective: nn.Module, batches: Iterable[TruthBatch], device: torch.device, progress: Progress
) -> dict[str, float]:
    """Mean losses of batches that are not learned from; nothing about the objective changes."""
    objective.eval()
    sums: dict[str, float] = {}
    pictures = 0
    for item in batches:
        for name, value in values_of(objective(*item.on(device))).items():
            if not math.isfinite(value):
                raise BadLossError(progress, f"validation loss {name}", value, item.indices)
            sums[name] = sums.get(name, 0.0) + value * len(item.indices)
        pictures += len(item.indices)
    return {name: total / max(1, pictures) for name, total in sums.items()}
