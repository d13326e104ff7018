"""A training step against torchvision's: the same network, pictures and sizes of mini-batches.

A step is what training repeats but for decoding: laying out, forward, backward, the optimizer.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rcnn import build
from rcnn.acceleration.dense import compile_dense, missing_compiler
from rcnn.acceleration.graphs import capture_on
from rcnn.bench.calibrated import tensor
from rcnn.bench.harness import Case, Goal, Way
from rcnn.bench.ops import random_boxes, seeded
from rcnn.bench.pictures import photo
from rcnn.bench.predict import MOBILE, RESNET, Work, as_measured, precisions, shipped
from rcnn.bench.same_sample import learning_alike, losses_agree
from rcnn.compat.torchvision import CONFIGS, from_state
from rcnn.data.loader import Collate, Draw, Drawn, Samples
from rcnn.data.raw import lays_out
from rcnn.memory import keep_freed_memory
from rcnn.methods import FasterRCNN
from rcnn.sample import Sample
from rcnn.structures import Batch, Targets
from rcnn.training.loop import Progress, Trainer
from rcnn.training.objectives import JointObjective
from rcnn.training.optim import OptimizerSettings, Schedule, make_optimizer
from rcnn.training.schemes import Learn

RACES: Mapping[str, tuple[Work, Mapping[str, Goal]]] = {
    "cpu": (Work(MOBILE, (320, 480), batch=8), {"fp32": (2, None), "bf16": (3, None)}),
    "cuda": (Work(RESNET, (800, 1333), batch=16), {"bf16": (4, 16 / 200)}),
}
"""By device, with what each precision shall reach: an H200's seconds. There torchvision runs in bf16, channels last."""
NAMES = tuple(f"class {number}" for number in range(1, RACES["cpu"][0].classes + 1))
LR = 1e-6
"""So little that the network stays as it is while it is measured."""
HALF = 0.05
"""By how much a loss may differ in half precision, in which other boxes are proposed and drawn."""


def cases(device: torch.device) -> Iterator[Case]:
    """Many pictures a step."""
    work, wanted = RACES.get(device.type, RACES["cpu"])
    yield train_case(work, 7, wanted, device, compiled=missing_compiler(device.type) is None)


def truths(pictures: int, objects: int, size: tuple[int, int]) -> list[Sample]:
    """Made-up pictures, in memory, with so many objects each."""
    rng, boxes = np.random.default_rng(0), random_boxes(pictures, objects, size, seeded(0)).numpy()
    names = rng.choice(NAMES, (pictures, objects))
    return [
        Sample(id=str(n), picture=photo(*size, seed=n), boxes=boxes[n], names=tuple(map(str, names[n])))
        for n in range(pictures)
    ]


@dataclass
class Learner:
    """This library's training, in one precision, compiled or not."""

    compiled: bool
    objective: JointObjective
    trainer: Trainer
    rows: Sequence[Drawn]
    collate: Collate

    @property
    def name(self) -> str:
        """Of the way."""
        return f"rcnn{', bf16' if self.trainer.bf16 else ''}{', compiled' if self.compiled else ''}"

    def batch(self) -> tuple[Batch, Targets]:
        """The pictures laid out, on the device."""
        return self.collate(list(self.rows)).on(self.trainer.device)

    def step(self) -> None:
        """As `rcnn train` does it."""
        self.trainer.run([self.collate(list(self.rows))], 1, Progress(), lambda *_: False)

    def losses(self, batch: Batch, targets: Targets) -> dict[str, Tensor]:
        """Of a batch, by the passes that are timed; their gradients are forgotten."""
        losses = self.trainer.learn(batch, targets, torch.ones((), device=self.trainer.device))
        self.trainer.optimizer.zero_grad(set_to_none=self.trainer.capture is None)
        return losses


def learner(
    work: Work, theirs: nn.Module, samples: Sequence[Sample], device: torch.device, bf16: bool, compiled: bool
) -> Learner:
    """This library's training of torchvision's network."""
    config, (model, _) = CONFIGS[work.name], from_state(work.name, theirs.state_dict())
    compiled = compiled and compile_dense(model, device)
    (stage,) = build.stages(model.to(device), config)
    assert isinstance(stage, Learn)
    objective = stage.objective
    assert isinstance(objective, JointObjective)
    optimizer = make_optimizer(model, OptimizerSettings("sgd", LR, 0.9, 1e-4))
    capture = capture_on(device) if compiled else None
    trainer = Trainer(objective, optimizer, Schedule(1, 0, ()), LR, device, bf16, capture=capture)
    preprocess = work.preprocess
    pictures = Samples(samples, preprocess)
    rows = [pictures[Draw(n, preprocess.short, mirrored=False, key=n + 1)] for n in range(len(samples))]
    return Learner(compiled, objective, trainer, rows, Collate(preprocess, NAMES, len(samples), raw=lays_out(device)))


def sgd(parameters: Any) -> torch.optim.Optimizer:
    """For torchvision; this library has its own, which is fused on GPUs."""
    return torch.optim.SGD([p for p in parameters if p.requires_grad], LR, 0.9, weight_decay=1e-4)


def train_case(
    work: Work, objects: int, wanted: Mapping[str, Goal], device: torch.device, compiled: bool = False
) -> Case:
    """Torchvision's detector as it is shipped, and this library's with its weights, `compiled` too if asked for.

    Each picture has so many objects.
    """
    keep_freed_memory()  # as training does; in one process torchvision gains by it too
    samples = truths(work.batch, objects, work.size)
    theirs = as_measured(shipped(work, np.asarray(samples[0].picture)), device)
    learners = [
        learner(work, theirs, samples, device, bf16, graphs)
        for bf16 in precisions(device)
        for graphs in (False, True)[: 1 + compiled]
    ]
    ways = [Way("torchvision", torchvision_step(theirs, samples, device))]
    ways += [Way(one.name, one.step, *wanted.get("bf16" if one.trainer.bf16 else "fp32", ())) for one in learners]
    facts = {"objects": objects * len(samples), "parameters": sum(p.numel() for p in theirs.parameters())}
    return Case(f"train, {work}", ways, partial(check_losses, theirs, samples, learners), facts)


def check_losses(theirs: Any, samples: Sequence[Sample], learners: Sequence[Learner]) -> str:
    """The four losses of the same mini-batch, in every precision, compiled or not."""
    full, others = _single(learners[0]), [one for one in learners if one.compiled or one.trainer.bf16]
    (batch, targets), objective = full.batch(), full.objective.eval()
    assert isinstance(objective.model, FasterRCNN)
    with torch.no_grad():
        found = objective.model.rpn(objective.model.features(batch.images), batch, objective.limits)
    expected = learning_alike(theirs, targets, found)(*truth_of(samples, batch.images.device))
    own = full.losses(batch, targets)
    said = [f"losses to {losses_agree(own, expected, 1e-3):.0e}"]
    for other in others:
        began = time.perf_counter()
        losses = other.losses(batch, targets)
        compiling = f", compiled forward in {time.perf_counter() - began:.0f} s" if other.compiled else ""
        apart = losses_agree(losses, expected, HALF if other.trainer.bf16 else 1e-3)
        said.append(f"{other.name} to {apart:.0e}{compiling}")
    return "; ".join(said)


def _single(one: Learner) -> Learner:
    """The same network in single precision."""
    return replace(one, trainer=replace(one.trainer, bf16=False, capture=None), compiled=False)


def truth_of(samples: Sequence[Sample], device: torch.device) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Pictures and truth as torchvision's detectors take them."""
    pictures = [tensor(np.asarray(sample.picture)).to(device) for sample in samples]
    numbers = [torch.tensor([NAMES.index(name) + 1 for name in sample.names], device=device) for sample in samples]
    boxes = [torch.from_numpy(sample.boxes).to(device) for sample in samples]
    return pictures, [{"boxes": b, "labels": n} for b, n in zip(boxes, numbers, strict=True)]


def torchvision_step(theirs: Any, samples: Sequence[Sample], device: torch.device) -> Callable[[], object]:
    """As its reference training does it, without its scaler of fp16."""
    pictures, truth = truth_of(samples, device)
    optimizer = sgd(theirs.parameters())

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            losses = theirs.train()(pictures, truth)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()

    return step
