"""What all figures are drawn from: the demo's data, one small network, and one run of 4-step training."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

import rcnn
from rcnn import build
from rcnn.api.measuring import evaluate_detector
from rcnn.api.proposals import rpn_proposals
from rcnn.api.workshop import Workshop
from rcnn.backbones import SingleMapBackbone, Trunk
from rcnn.backbones.networks import group_norm
from rcnn.build.model import assemble, quickened
from rcnn.config import Config
from rcnn.data.digits import digit_scenes
from rcnn.data.loader import Collate, Draw, Samples, TruthBatch
from rcnn.data.picture import resolve
from rcnn.evaluation.recall import recall
from rcnn.inference.predictor import Detector
from rcnn.methods import FasterRCNN
from rcnn.presets.overrides import override, preset
from rcnn.runs import RunFolder
from rcnn.runs.tensors import read_tensors, write_tensors
from rcnn.sample import DataSet, Sample
from rcnn.training.loop import Progress
from rcnn.training.schemes import Stage
from rcnn.training.staged import StagedTraining

STRIDE = 8
SIZES, RATIOS = (20.0, 32.0, 50.0), (0.5, 1.0, 2.0)
SETTINGS: dict[str, object] = {
    "model.backbone": "small",
    "model.neck": "none",
    "model.norm": "group",
    "model.rpn.anchor_sizes": [list(SIZES)],
    "model.rpn.anchor_ratios": list(RATIOS),
    "model.rpn.border": False,
    "model.rpn.before": 1000,
    "model.rpn.after": 100,
    "model.rpn.train_before": 2000,
    "model.rpn.train_after": 200,
    "model.head.pooling": "max",
    "model.head.positive_iou": 0.5,
    "training.scheme": "4-step",
    "training.batch": 4,
    "training.warmup": 20,
}
"""Over those of `rcnn demo`: one map, nine anchors a cell, RoI pooling and cross-border anchors as in the papers."""


@dataclass(frozen=True)
class Scale:
    """How much is learned from how many scenes."""

    train: int = 480
    test: int = 60
    rpn_epochs: int = 2
    epochs: int = 8


@dataclass
class Record:
    """What the listener saw, epoch after epoch."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """Stage, epoch, mean losses, and the recall of the proposals at its end."""
    moved: dict[str, dict[str, float]] = field(default_factory=dict)
    """For each stage, how far each part of the network moved: the mean of all weights' distances."""
    metrics: dict[str, float] = field(default_factory=dict)
    """AP and AP50 of the last detector."""


@dataclass(frozen=True)
class Lab:
    """The data, the trained detector, and how its training went."""

    data: DataSet
    detector: Detector
    config: Config
    record: Record
    cache: Path | None
    """Where studies keep what takes long; None in a lab that keeps nothing."""

    @property
    def model(self) -> FasterRCNN:
        """The network."""
        return self.detector.model  # type: ignore[return-value]

    def picture(self, number: int) -> UInt8[np.ndarray, "H W 3"]:
        """A test scene."""
        return resolve(self.data.splits["test"][number].picture)

    def batch(self, numbers: Sequence[int], split: str = "test", short: int | None = None) -> TruthBatch:
        """Some scenes with their truth, as training sees them, at another short side if given."""
        return batch_of(self.data, self.config, numbers, split, short)


def network() -> Trunk:
    """Seven 3x3 convolutions with a map of stride 8: any such `Trunk` can be a backbone."""
    widths = ((3, 24, 2), (24, 48, 2), (48, 48, 1), (48, 96, 2), (96, 96, 1), (96, 128, 1), (128, 128, 1))
    layers: dict[str, nn.Module] = {f"conv{number}": _convolution(*row) for number, row in enumerate(widths, start=1)}
    return Trunk(layers, (f"conv{len(widths)}",), (128,), (STRIDE,))


def _convolution(before: int, after: int, stride: int) -> nn.Sequential:
    layer = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
    return nn.Sequential(layer, group_norm(after), nn.ReLU(inplace=True))


def settings(**changes: object) -> Config:
    """The settings of the lessons' run, with some changed (`training__lr=...` for `training.lr`)."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return override(preset("demo"), None, (), SETTINGS | named)


def fresh_model(config: Config, classes: int) -> FasterRCNN:
    """The lessons' detector with random weights, the same ones every time."""
    torch.manual_seed(config.training.seed)
    model = assemble(SingleMapBackbone(network()), config.model, classes)
    assert isinstance(model, FasterRCNN)
    return quickened(model)


def scenes(scale: Scale) -> DataSet:
    """The demo's scenes, drawn once instead of anew in every epoch."""
    made = digit_scenes(scale.train, 0, scale.test, seed=0)
    splits = {
        name: [replace(sample, picture=resolve(sample.picture)) for sample in samples]
        for name, samples in made.splits.items()
    }
    return DataSet(splits, made.class_names)


def batch_of(
    data: DataSet, config: Config, numbers: Sequence[int], split: str = "test", short: int | None = None
) -> TruthBatch:
    """Some scenes of a split laid out with their truth; the key of their sampling is their number."""
    given = config.input
    if short is not None:
        given = given.model_copy(update={"short": short, "long": round(given.long * short / given.short)})
    preprocess = build.preprocess(given)
    rows = Samples(data.splits[split], preprocess)
    return Collate(preprocess, data.class_names, len(numbers))(
        [rows[Draw(number, preprocess.short, mirrored=False, key=number)] for number in numbers]
    )


def detector_of(model: FasterRCNN, config: Config, data: DataSet) -> Detector:
    """The network made ready for pictures."""
    return Detector(model, build.preprocess(config.input), data.class_names)


class Watcher:
    """A listener that measures the recall of proposals after each epoch."""

    def __init__(self, detector: Detector, samples: Sequence[Sample], say: bool = True, most: int = 100) -> None:
        self.detector = detector
        self.samples = samples
        self.record = Record()
        self.say = say
        self.most = most

    def stage_started(self, name: str, number: int, stages: int) -> None:
        """Remember the weights that the stage began with, to say afterwards what it moved."""
        self.before = {key: tensor.clone() for key, tensor in self.detector.model.state_dict().items()}

    def epoch_started(self, epoch: int, epochs: int, batches: int) -> None:
        """Nothing is to be done."""

    def stepped(self, progress: Progress, lr: float) -> None:
        """Nothing is to be done."""

    def epoch_ended(self, rows: Sequence[dict[str, Any]], best: bool) -> None:
        """Keep the training row, with the recall beside it."""
        row = {name: rows[0][name] for name in ("stage", "epoch", "losses")}
        row["recall"] = proposal_recall(self.detector, self.samples, self.most)
        row["seconds"] = rows[0].get("seconds", 0.0)
        self.record.rows.append(row)
        self.record.moved[row["stage"]] = distances(self.before, self.detector.model.state_dict())
        if self.say:
            losses = "  ".join(f"{name} {value:.3f}" for name, value in row["losses"].items())
            print(f"  {row['stage']:12} epoch {row['epoch']}  {losses}  recall {row['recall']:.3f}", flush=True)


def distances(before: dict[str, Tensor], now: dict[str, Tensor]) -> dict[str, float]:
    """The mean distance that the weights of each part went."""
    parts = {}
    for part in ("backbone", "rpn", "head"):
        gaps = [(now[name] - tensor).abs().flatten() for name, tensor in before.items() if name.startswith(part)]
        parts[part] = float(torch.cat(gaps).mean())
    return parts


def proposal_recall(detector: Detector, samples: Sequence[Sample], most: int = 100, iou: float = 0.7) -> float:
    """The share of true boxes that the best `most` proposals of a picture cover at an IoU."""
    table = rpn_proposals(detector, samples, most)
    found = [table.boxes[sample.id] for sample in samples]
    return float(recall([sample.boxes for sample in samples], found, (iou,), (most,))[0, 0])


def train(
    model: FasterRCNN,
    config: Config,
    data: DataSet,
    folder: Path,
    watcher: Watcher,
    stages: Sequence[Stage] | None = None,
) -> None:
    """Train a model by the settings' scheme, or by other `stages`, with the library's own training."""
    place, cpu = RunFolder(folder), torch.device("cpu")
    place.create(overwrite=True)
    shop = Workshop(model, config, place, data.class_names, data.splits["train"], [], cpu, watcher)
    metadata = {"config": config.model_dump(mode="json"), "class_names": list(data.class_names)}
    scheme = build.stages(model, config) if stages is None else stages
    training = StagedTraining(scheme, model, place, metadata, shop.tools(), watcher)
    training.begin()
    training.run()


def code() -> str:
    """A hash of the library's code: what was trained or timed before a change of it is made anew."""
    digest = hashlib.sha256()
    for path in sorted(Path(rcnn.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def open_lab(cache: Path | None, scale: Scale, again: bool = False) -> Lab:
    """The lab with the trained detector: from `cache`, or trained now; untrained where `cache` is None."""
    data, config = scenes(scale), settings(training__epochs=scale.epochs, training__rpn_epochs=scale.rpn_epochs)
    detector = detector_of(fresh_model(config, len(data.class_names)), config, data)
    lab = Lab(data, detector, config, Record(), cache)
    if cache is None:
        return lab
    key = {"config": config.model_dump(mode="json"), "scale": asdict(scale), "code": code()}
    file = cache / "model.safetensors"
    if not again and file.is_file():
        tensors, metadata = read_tensors(file)
        if {name: metadata.get(name) for name in key} == key:
            detector.model.load_state_dict(tensors)
            return replace(lab, record=Record(metadata["rows"], metadata["moved"], metadata["metrics"]))
    watcher = Watcher(detector, data.splits["test"])
    train(lab.model, config, data, cache / "run", watcher)
    metrics = evaluate_detector(detector, data.splits["test"])[0].metrics
    record = replace(watcher.record, metrics={name: metrics[name] for name in ("AP", "AP50")})
    write_tensors(file, detector.model.state_dict(), key | asdict(record))
    return replace(lab, record=record)
