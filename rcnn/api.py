"""The library from outside: train, load and evaluate, as functions of plain values."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from rcnn import build
from rcnn.compat.torchvision import load_torchvision
from rcnn.config import Config
from rcnn.data import Format, Policy, check_pictures, enforce, every_sample, open_data, samples_of
from rcnn.data.loader import Batches
from rcnn.errors import ConfigError, WeightsError
from rcnn.evaluation import Evaluation, Protocol, check_protocol, evaluate
from rcnn.inference.predictor import Detector
from rcnn.presets import PRESETS
from rcnn.presets.yaml import to_yaml
from rcnn.runs import RunFolder, read_metadata, read_tensors, write_text
from rcnn.sample import DataSet, Sample
from rcnn.training.checkpoint import model_tensors
from rcnn.training.journal import Journal
from rcnn.training.loop import Trainer
from rcnn.training.optim import make_optimizer
from rcnn.training.session import Listener, Session, choose_device, computes_bf16

DEFAULT_PRESET = "faster-rcnn-mobilenet-fpn"
Data = Path | str | DataSet
Precision = Literal["auto", "fp32", "bf16"]
Weights = Path | str | None
"""A file; `none` for random weights; None for torchvision's."""


def read_data(data: Data, bad_boxes: Policy = "fail", format: Format | None = None) -> DataSet:
    """A data set whose pictures and boxes have all been looked at; one given as samples is taken as it is.

    Raises DataError with the list of defects, unless `bad_boxes` says to drop them.
    """
    if isinstance(data, DataSet):
        return data
    opened = open_data(Path(data), format)
    findings = opened.findings + check_pictures(every_sample(opened.dataset), sizes=opened.sizes)
    return enforce(opened.dataset, findings, bad_boxes, str(data))


@dataclass(frozen=True)
class Prepared:
    """A run that can begin: what the command line shows before it does."""

    session: Session
    config: Config
    class_names: tuple[str, ...]
    report: Any
    """What of the pretrained weights fitted; None without them."""


def prepare_training(
    data: Data,
    out: Path | str,
    listener: Listener,
    config: Config | None = None,
    *,
    train_split: str | None = None,
    val_split: str | None = None,
    backbone_weights: Weights = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    bad_boxes: Policy = "fail",
    format: Format | None = None,
) -> Prepared:
    """Read the data, build the network and make the run's folder.

    Splits are `train` and `val` unless named; `val_split` may be `none`: then the newest weights count as the best.
    With `resume` they, and the settings where `config` is None, are those that the run began with.
    """
    dataset = read_data(data, bad_boxes, format)
    folder = RunFolder(Path(out))
    stored = read_metadata(folder.last) if resume else None
    pretrained = str(backbone_weights) != "none"
    config = build.resolved(config or _begun(stored, folder.last) or PRESETS[DEFAULT_PRESET](), pretrained)
    begun = stored["splits"] if stored else {"train": "train", "val": "val"}
    splits = {"train": train_split or begun["train"], "val": val_split or begun["val"]}
    if stored is not None:
        _refuse_changes(stored, config, dataset.class_names, splits)
        dataset = _with_splits_of(folder, dataset) if dataset.drawn else dataset
    train = _split(dataset, splits["train"])
    val = [] if splits["val"] == "none" else _split(dataset, splits["val"])
    torch.manual_seed(config.training.seed)
    source = Path(backbone_weights) if backbone_weights and pretrained else None
    fetch = pretrained and stored is None
    model, report = build.detector(config.model, len(dataset.class_names), source, fetch)
    metadata = {"config": config.model_dump(mode="json"), "class_names": list(dataset.class_names), "splits": splits}
    if stored is None:
        folder.create(overwrite)
        write_text(folder.config, to_yaml(config))
        write_text(folder.splits, json.dumps({name: [s.id for s in part] for name, part in dataset.splits.items()}))
    session = _session(model, config, folder, metadata, train, val, dataset.class_names, listener, device)
    if stored is not None:
        session.resume()
    return Prepared(session, config, dataset.class_names, report)


def train(data: Data, out: Path | str, config: Config | None = None, **options: Any) -> Detector:
    """Train a detector and return the best one; options are those of `prepare_training`.

    Training to the end leaves the run in the folder `out`. Raises KeyboardInterrupt, with the state saved, when
    asked to stop by Ctrl-C or SIGTERM.
    """
    options.setdefault("listener", Journal(RunFolder(Path(out)).events))
    prepare_training(data, out, config=config, **options).session.run()
    return load(out, device=options.get("device", "auto"))


def load(
    source: Path | str,
    device: str = "auto",
    *,
    which: Literal["best", "last"] = "best",
    weights: Path | str | None = None,
    precision: Precision = "fp32",
) -> Detector:
    """A detector from the folder of a run, one of its files, or `torchvision:NAME` (with its `weights` in a file)."""
    where = choose_device(device)
    bf16 = uses_bf16(precision, where)
    if str(source).startswith("torchvision:"):
        return load_torchvision(str(source).removeprefix("torchvision:"), weights, where, bf16)
    path = Path(source)
    if not path.exists():
        raise WeightsError(f"{source}: no such run; pass the folder that rcnn train wrote, or torchvision:NAME")
    if path.is_dir():
        path = RunFolder(path).best if which == "best" else RunFolder(path).last
    tensors, metadata = read_tensors(path)
    config = _config(metadata, path)
    model, _ = build.detector(config.model, len(metadata["class_names"]))
    model.load_state_dict(model_tensors(tensors) or tensors)
    return Detector(
        model, build.preprocess(config.input), metadata["class_names"], where, bf16, config.input.max_pixels
    )


def load_named(run: str, weights: str, device: str, precision: Precision) -> Detector:
    """A detector as command lines name it: `weights` is `best` or `last`, or a file for `torchvision:NAME`."""
    if run.startswith("torchvision:"):
        return load(run, device, weights=None if weights in ("best", "last") else weights, precision=precision)
    if weights not in ("best", "last"):
        raise ConfigError(f"--weights {weights}: give best or last, the two that a run keeps")
    return load(run, device, which="last" if weights == "last" else "best", precision=precision)


def stored_config(run: Path) -> Config:
    """The settings that a run began with."""
    path = RunFolder(run).last
    return _config(read_metadata(path), path)


def evaluate_detector(
    detector: Detector,
    samples: Sequence[Sample],
    protocol: Protocol = "coco",
    batch: int = 4,
    on_picture: Callable[[], object] = lambda: None,
) -> tuple[Evaluation, float]:
    """Detections of the samples, held against their truth, and the seconds a picture that detecting took.

    The protocol is checked on the truth itself first.
    """
    notes = check_protocol(samples, detector.class_names, protocol)
    found, before, began = [], detector.incomplete, time.perf_counter()
    for detections in detector.predict((sample.picture for sample in samples), batch):
        found.append(detections)
        on_picture()
    seconds = (time.perf_counter() - began) / max(1, len(samples))
    if cut := detector.incomplete - before:
        notes += (f"{cut} pictures had more candidates than the cap; raise model.detections.candidates",)
    result = evaluate(samples, found, detector.class_names, protocol)
    return replace(result, warnings=notes + result.warnings), seconds


def evaluation_samples(detector: Detector, dataset: DataSet, split: str, run: Path | None) -> list[Sample]:
    """The samples of a split; where splits were drawn, as they were when the run was trained."""
    samples = samples_of(_with_splits_of(RunFolder(run), dataset) if run and dataset.drawn else dataset, split)
    if missing := set(dataset.class_names) - set(detector.class_names):
        raise ConfigError(
            f"the data has class {sorted(missing)[0]!r}, which the model does not know "
            f"({', '.join(detector.class_names)}); evaluate on data of the same classes"
        )
    return samples


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether to compute in bf16."""
    return precision == "bf16" or (precision == "auto" and computes_bf16(device))


def _session(
    model: Any,
    config: Config,
    folder: RunFolder,
    metadata: Mapping[str, Any],
    train: Sequence[Sample],
    val: Sequence[Sample],
    class_names: tuple[str, ...],
    listener: Listener,
    device: str,
) -> Session:
    settings, where = config.training, choose_device(device)
    preprocess = build.preprocess(config.input)
    model = model.to(where)
    workers, seed = settings.workers, settings.seed
    batches = Batches(train, class_names, preprocess, settings.batch, build.augment(settings), seed, workers)
    val_batches = Batches(val, class_names, preprocess, settings.batch, None, seed, 0, False) if val else None
    optimizer = build.optimizer_settings(settings)
    steps = settings.epochs * -(-len(batches) // settings.accumulate)
    trainer = Trainer(
        build.objective(model, config),
        make_optimizer(model, optimizer),
        build.schedule(settings, steps),
        optimizer.lr,
        where,
        uses_bf16(settings.precision, where),
        settings.accumulate,
        settings.clip,
    )
    detector = Detector(model, preprocess, class_names, where, max_pixels=config.input.max_pixels)

    def judge() -> dict[str, float]:
        result, _ = evaluate_detector(detector, val, batch=settings.batch)
        return {name: result.metrics[name] for name in ("AP", "AP50")}

    return Session(trainer, model, folder, metadata, settings.epochs, batches, val_batches, judge, listener)


def _split(dataset: DataSet, name: str) -> list[Sample]:
    samples = samples_of(dataset, name)
    if not samples:
        raise ConfigError(f"split '{name}': has no pictures; choose another with --train-split or --val-split")
    return samples


def _with_splits_of(folder: RunFolder, dataset: DataSet) -> DataSet:
    if not folder.splits.is_file():
        return dataset
    by_id = {sample.id: sample for sample in every_sample(dataset)}
    stored = json.loads(folder.splits.read_text("utf-8"))
    splits = {name: [by_id[key] for key in ids if key in by_id] for name, ids in stored.items()}
    return replace(dataset, splits={name: part for name, part in splits.items() if part}) if splits else dataset


def _begun(stored: Mapping[str, Any] | None, path: Path) -> Config | None:
    return None if stored is None else _config(stored, path)


def _config(metadata: Mapping[str, Any], path: Path) -> Config:
    try:
        return Config.model_validate(metadata["config"])
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{path}: its settings are not of this version ({str(error).splitlines()[0]})") from error


def _refuse_changes(
    stored: Mapping[str, Any], config: Config, class_names: tuple[str, ...], splits: Mapping[str, str]
) -> None:
    """A resumed run goes on as it began: nothing that shapes it may have changed."""
    if stored["class_names"] != list(class_names):
        raise ConfigError(f"--resume: the run has classes {', '.join(stored['class_names'])}; the data has others")
    before = flat(stored["config"]) | flat(stored["splits"], "split ")
    now = flat(config.model_dump(mode="json")) | flat(splits, "split ")
    changed = [key for key in now if now[key] != before.get(key) and key not in _MAY_CHANGE]
    if changed:
        key = changed[0]
        raise ConfigError(f"{key}: is {now[key]}, but the run began with {before.get(key)}; resume with that")


_MAY_CHANGE = {"training.workers"}


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    rows: dict[str, Any] = {}
    for key, value in tree.items():
        rows |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return rows
