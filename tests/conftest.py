"""Small things to train on: pictures of coloured shapes, as arrays and as a VOC folder, and a tiny detector."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from rcnn import api
from rcnn.cli import frame
from rcnn.presets.overrides import override, preset
from rcnn.sample import DataSet, Sample

torch.set_num_threads(1)  # the work is so small that threads only wait for each other

COLOURS = {"disc": (220, 40, 40), "square": (40, 60, 220)}
TINY = {
    "input.short": 64,
    "input.long": 96,
    "model.channels": 16,
    "model.rpn.anchor_sizes": [[12], [20], [32], [48], [64]],
    "model.rpn.anchor_ratios": [1.0],
    "model.rpn.before": 60,
    "model.rpn.after": 30,
    "model.rpn.train_before": 60,
    "model.rpn.train_after": 30,
    "model.rpn.samples": 32,
    "model.head.widths": [32, 32],
    "model.head.samples": 16,
    "model.norm": "group",
    "training.epochs": 2,
    "training.batch": 2,
    "training.precision": "fp32",
}
TINY_SETS = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
"""The same as words of a command line."""


def tiny_config(**training):
    """The demo's preset, made so small that a step takes some hundredths of a second."""
    return override(preset("demo"), None, (), TINY | {f"training.{key}": value for key, value in training.items()})


def shape_sample(name, size=(64, 80), objects=2, seed=None):
    """A noisy gray picture with shapes that do not overlap, drawn from its name (or `seed`)."""
    rng = np.random.default_rng(list(str(name if seed is None else seed).encode()))
    height, width = size
    pixels = rng.integers(90, 130, (height, width, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:height, :width] + 0.5
    boxes, names = [], []
    for part in range(objects):
        kind = ("disc", "square")[int(rng.integers(2))]
        side = int(rng.integers(16, 28))
        first, last = width * part // objects, width * (part + 1) // objects - side  # each in its own part
        left = int(rng.integers(first, max(first, last) + 1))
        top = int(rng.integers(0, height - side))
        inside = (abs(columns - left - side / 2) < side / 2) & (abs(rows - top - side / 2) < side / 2)
        if kind == "disc":
            inside = (columns - left - side / 2) ** 2 + (rows - top - side / 2) ** 2 < side**2 / 4
        pixels[inside] = COLOURS[kind]
        boxes.append((left, top, left + side, top + side))
        names.append(kind)
    return Sample(str(name), pixels, np.array(boxes, np.float32).reshape(-1, 4), tuple(names))


def shape_data(train=4, val=2, test=0):
    """Shapes as a data set of arrays."""
    counts = {"train": train, "val": val, "test": test}
    splits = {split: [shape_sample(f"{split}{i}") for i in range(count)] for split, count in counts.items() if count}
    return DataSet(splits, tuple(COLOURS))


def write_voc(root: Path, dataset: DataSet) -> Path:
    """The data set as a VOC folder of PNG files."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for split, samples in dataset.splits.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{s.id}\n" for s in samples))
        for sample in samples:
            Image.fromarray(sample.picture).save(root / "JPEGImages" / f"{sample.id}.png")
            (root / "Annotations" / f"{sample.id}.xml").write_text(_annotation(sample))
    return root


def _annotation(sample: Sample) -> str:
    height, width, _ = sample.picture.shape
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, (x1, y1, x2, y2) in zip(sample.names, sample.boxes.astype(int).tolist(), strict=True)
    )
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation><filename>{sample.id}.png</filename>{size}{objects}</annotation>"


class Silent:
    """A listener that does nothing."""

    def stage_started(self, name, number, stages):
        pass

    def epoch_started(self, epoch, epochs, batches):
        pass

    def stepped(self, progress, lr):
        pass

    def epoch_ended(self, rows, best):
        pass


def prepare(data, out, config=None, listener=None, **options):
    """A run of random weights that can begin, on the CPU and without a screen."""
    options = {"backbone_weights": "none", "device": "cpu"} | options
    return api.prepare_training(data, out, listener or Silent(), config, **options)


def rows_of(run: Path, *unstable: str):
    """The metrics of a run, without `unstable` numbers."""
    rows = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [{name: value for name, value in row.items() if name not in unstable} for row in rows]


def same_tensors(one: Path, other: Path):
    """Whether two safetensors files hold bitwise the same."""
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(autouse=True)
def one_thread():
    """What a command under test sets for its process ends with the test."""
    yield
    torch.set_num_threads(1)


@pytest.fixture
def quiet_log():
    """The command line sets up logging; take that back."""
    yield
    frame.log.handlers = []
    frame.log.setLevel(0)


@pytest.fixture(scope="session")
def voc(tmp_path_factory):
    """A VOC folder of shapes: train 4, val 2, test 3."""
    return write_voc(tmp_path_factory.mktemp("data") / "shapes", shape_data(4, 2, 3))


@pytest.fixture(scope="session")
def run(tmp_path_factory, voc):
    """The folder of a run, trained for an epoch: not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "shapes"
    prepare(voc, out, tiny_config(epochs=1)).training.run()
    return out
