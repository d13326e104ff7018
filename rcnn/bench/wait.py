"""How long training would wait for its data: a step of each preset, beside what prepares the pictures of a step.

With workers, preparing goes on beside the step; without, as the presets begin, a step takes both.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from rcnn import build
from rcnn.bench.harness import Case, Closing, Row, Way
from rcnn.bench.ops import random_boxes, seeded
from rcnn.bench.pictures import jpegs
from rcnn.config import Config
from rcnn.data.loader import TruthBatch
from rcnn.data.raw import lays_out
from rcnn.memory import keep_freed_memory
from rcnn.presets import PRESETS
from rcnn.sample import Sample
from rcnn.training.loop import Progress, Trainer
from rcnn.training.optim import make_optimizer
from rcnn.training.schemes import Learn
from rcnn.training.session import computes_bf16
from rcnn.training.staged import only, still

SIZE, NAMES = (480, 640), ("disc", "square", "star")
STEP = "a training step"
LR = 1e-8
"""So little that the network stays as it is while it is measured."""


def cases(device: torch.device) -> Iterator[Case]:
    """Every preset, with pictures of 480 x 640 in files."""
    keep_freed_memory()
    for name, make in PRESETS.items():
        with TemporaryDirectory() as folder:
            config = build.resolved(make(), pretrained=True)
            yield wait_case(name, config, jpegs(Path(folder), config.training.batch, *SIZE), device)


def wait_case(name: str, config: Config, files: Sequence[Path], device: torch.device) -> Case:
    """The first stage of a configuration that learns by steps."""
    samples, batches = _samples(files, config), _batches(files, config, device)
    model, _ = build.detector(config, len(NAMES))
    stage, settings = build.stages(model.to(device), config)[0], config.training
    assert isinstance(stage, Learn)
    optimizer = make_optimizer(model, build.optimizer_settings(settings), stage.trains)
    bf16 = settings.precision != "fp32" and computes_bf16(device)
    schedule, resting = build.schedule(settings, 1000), still(model, stage.trains)
    trainer = Trainer(stage.objective, optimizer, schedule, LR, device, bf16, clip=settings.clip, still=resting)
    ready = next(batches)

    def step() -> None:
        with only(model, stage.trains):
            trainer.run([ready], 1, Progress(), lambda *_: False)

    def check() -> str:
        if len(ready.indices) != len(samples):
            raise AssertionError(f"a step sees {len(ready.indices)} pictures instead of {len(samples)}")
        return "bf16" if bf16 else "fp32"

    ways = (Way(STEP, step), Way("preparing its pictures", lambda: next(batches)))
    return Case(f"wait, {name}, stage {stage.name}", ways, check, {"pictures": len(samples)})


def _samples(files: Sequence[Path], config: Config) -> list[Sample]:
    """Seven objects a picture, and as many regions as a method wants that makes none."""
    needed = build.proposer(config, training=True)
    most = config.model.proposals.train if needed is not None else 0
    boxes = random_boxes(len(files), 7, SIZE, seeded(0)).numpy()
    regions = random_boxes(len(files), max(1, most), SIZE, seeded(1)).numpy()
    names = tuple(NAMES[n % len(NAMES)] for n in range(7))
    return [
        Sample(file.stem, file, boxes[n], names, proposals=regions[n] if most else None) for n, file in enumerate(files)
    ]


def _batches(files: Sequence[Path], config: Config, device: torch.device) -> Iterator[TruthBatch]:
    """One batch after the other, each prepared when it is asked for."""
    samples = _samples(files, config)
    most = config.model.proposals.train if samples[0].proposals is not None else 0
    batches = build.batches(config, samples, NAMES, proposals=most, raw=lays_out(device))
    for epoch in count(1):
        yield from batches.epoch(epoch)


def notes(rows: Sequence[Row]) -> list[str]:
    """The part of its time that each preset waits for pictures: without workers, and were one beside the step.

    What a worker on the same processor takes from the step is not in it.
    """
    by_case: dict[str, list[Row]] = {}
    for row in rows:
        by_case.setdefault(row.case, []).append(row)
    said = [f"{case.removeprefix('wait, ')}: {_waiting(*pair)}" for case, pair in by_case.items() if len(pair) == 2]
    return [f"Of its time training waits for pictures, without workers / were one at work beside: {'; '.join(said)}."]


def _waiting(step: Row, data: Row) -> str:
    beside = max(0.0, data.median - step.median) / max(data.median, step.median)
    return f"{data.median / (step.median + data.median):.1%} / {beside:.1%}"


CLOSING = Closing(notes)
