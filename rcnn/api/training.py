"""From data and settings to a run that can begin, and a run that has ended."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from rcnn import build
from rcnn.api.data import Data, read_data, split, with_splits_of
from rcnn.api.loading import config_of, load, stored_config, uses_bf16
from rcnn.api.measuring import evaluate_detector
from rcnn.backbones import LoadReport
from rcnn.config import Config
from rcnn.data import Format, Policy
from rcnn.data.loader import Batches
from rcnn.errors import ConfigError
from rcnn.inference.predictor import Detector
from rcnn.methods.faster_rcnn import FasterRCNN
from rcnn.presets.overrides import override, preset
from rcnn.presets.yaml import to_yaml
from rcnn.runs import RunFolder, read_metadata, write_text
from rcnn.sample import DataSet, Sample
from rcnn.training.journal import Journal
from rcnn.training.loop import Trainer
from rcnn.training.optim import make_optimizer
from rcnn.training.session import Listener, Session, choose_device

DEFAULT_PRESET = "faster-rcnn-mobilenet-fpn"
Weights = Path | str | None
"""A file; `none` for random weights; None for torchvision's."""
_MAY_CHANGE = {"training.workers", "training.save_minutes"}  # between a run's beginning and its resumption


@dataclass(frozen=True)
class Prepared:
    """A run that can begin: what the command line shows before it does."""

    session: Session
    config: Config
    class_names: tuple[str, ...]
    report: LoadReport | None
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
    bad_boxes: Policy | None = None,
    format: Format | None = None,
) -> Prepared:
    """Read the data, build the network and make the run's folder.

    Splits are `train` and `val` unless named; `val_split` may be `none`: then the newest weights count as the best.
    With `resume` all that is not given is as when the run began.
    """
    folder, where = RunFolder(Path(out)), choose_device(device)
    stored = _stored(folder, resume, overwrite)
    config = _settings(config, stored, folder)
    pretrained = build.has_weights(config.model, backbone_weights)
    config = build.resolved(config, pretrained)
    reading = _reading(stored, bad_boxes, format)
    dataset = read_data(data, **reading, max_pixels=config.input.max_pixels)
    if stored is not None:
        dataset = with_splits_of(folder, dataset)
    metadata = _metadata(stored, config, dataset, train_split, val_split) | {"reading": reading}
    if stored is not None:
        _refuse_changes(stored, metadata)
        _refuse_other_pictures(folder, dataset, metadata["splits"])
    pictures = _pictures(dataset, metadata["splits"])
    torch.manual_seed(config.training.seed)
    source = Path(backbone_weights) if backbone_weights and pretrained else None
    model, report = build.detector(config.model, len(dataset.class_names), source, pretrained and stored is None)
    session = _session(model.to(where), config, folder, metadata, pictures, where, listener)
    session.resume() if stored is not None else _begin(folder, overwrite, config, dataset)
    return Prepared(session, config, dataset.class_names, report)


def train(
    data: Data,
    out: Path | str,
    config: Config | str | None = None,
    settings: Mapping[str, object] | None = None,
    **options: Any,
) -> Detector:
    """Train a detector and return the best one.

    `config` is the name of a preset or a whole configuration, over which single `settings` are laid by name
    (`{"training.epochs": 20}`, or `epochs` alone where that is unambiguous). The other options are those of
    `prepare_training`: `train_split`, `val_split`, `backbone_weights` (a file or "none"), `device`, `resume`,
    `overwrite`, `bad_boxes`, `format`. Training to the end leaves the run in the folder `out`. Raises ConfigError,
    DataError or WeightsError for what is wrong in them, and KeyboardInterrupt, with the state saved, after Ctrl-C.
    """
    if unknown := set(options) - set(signature(prepare_training).parameters):
        name = min(unknown)
        raise ConfigError(f"{name}: not an option of rcnn.train; settings go into settings={{{name!r}: ...}}")
    chosen = preset(config) if isinstance(config, str) else config
    if settings:
        begun = stored_config(Path(out)) if options.get("resume") else preset(DEFAULT_PRESET)
        chosen = override(chosen or begun, None, (), settings)
    options.setdefault("listener", Journal(RunFolder(Path(out)).events))
    prepare_training(data, out, config=chosen, **options).session.run()
    return load(out, device=options.get("device", "auto"))


def _stored(folder: RunFolder, resume: bool, overwrite: bool) -> Mapping[str, Any] | None:
    """What a run that goes on says of itself; None for one that begins, which needs its folder free."""
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite: give one of them")
    if resume:
        return read_metadata(folder.last)
    folder.refuse_existing(overwrite)
    return None


def _settings(given: Config | None, stored: Mapping[str, Any] | None, folder: RunFolder) -> Config:
    if given is not None:
        return given
    return preset(DEFAULT_PRESET) if stored is None else config_of(stored, folder.last)


def _metadata(
    stored: Mapping[str, Any] | None,
    config: Config,
    dataset: DataSet,
    train_split: str | None,
    val_split: str | None,
) -> dict[str, Any]:
    """What a run's files say of it, beside its weights."""
    begun = stored["splits"] if stored else {"train": "train", "val": "val"}
    splits = {"train": train_split or begun["train"], "val": val_split or begun["val"]}
    names = {"class_names": list(dataset.class_names), "category_ids": dataset.category_ids}
    return {"config": config.model_dump(mode="json"), "splits": splits, **names}


def _reading(stored: Mapping[str, Any] | None, bad_boxes: Policy | None, format: Format | None) -> dict[str, Any]:
    """How the data is read: as told, or as when the run began."""
    begun = stored["reading"] if stored else {"bad_boxes": "fail", "format": None}
    return {"bad_boxes": bad_boxes or begun["bad_boxes"], "format": format or begun["format"]}


def _pictures(dataset: DataSet, splits: Mapping[str, str]) -> tuple[list[Sample], list[Sample]]:
    """The samples to learn from, and those to choose the best epoch by."""
    train = split(dataset, splits["train"], "--train-split NAME")
    return train, [] if splits["val"] == "none" else split(dataset, splits["val"], "--val-split NAME or none")


def _begin(folder: RunFolder, overwrite: bool, config: Config, dataset: DataSet) -> None:
    """Make the folder, now that all else is in order, and write down what is about to happen."""
    folder.create(overwrite)
    write_text(folder.config, to_yaml(config))
    write_text(folder.splits, json.dumps(_ids(dataset)))


def _ids(dataset: DataSet) -> dict[str, list[str]]:
    return {name: [sample.id for sample in part] for name, part in dataset.splits.items()}


def _session(
    model: FasterRCNN,
    config: Config,
    folder: RunFolder,
    metadata: Mapping[str, Any],
    pictures: tuple[Sequence[Sample], Sequence[Sample]],
    where: torch.device,
    listener: Listener,
) -> Session:
    (train, val), class_names = pictures, tuple(metadata["class_names"])
    batches, val_batches = _batches(train, config, class_names), _batches(val, config, class_names, learning=False)
    trainer = _trainer(model, config, len(batches), where)
    detector = Detector(model, build.preprocess(config.input), class_names, where, max_pixels=config.input.max_pixels)

    def judge() -> dict[str, float]:
        result, _ = evaluate_detector(detector, val, batch=config.training.batch)
        known = {name: result.metrics[name] for name in ("AP", "AP50")}
        return {name: value for name, value in known.items() if not math.isnan(value)}

    epochs = config.training.epochs
    session = Session(trainer, model, folder, metadata, epochs, batches, val_batches if val else None, judge, listener)
    session.save_seconds = 60 * config.training.save_minutes
    return session


def _batches(samples: Sequence[Sample], config: Config, class_names: tuple[str, ...], learning: bool = True) -> Batches:
    """Batches to learn from, shuffled and varied; or as the pictures are."""
    settings, preprocess = config.training, build.preprocess(config.input)
    return Batches(
        samples,
        class_names,
        preprocess,
        settings.batch,
        build.augment(settings) if learning else None,
        settings.seed,
        settings.workers if learning else 0,
        shuffle=learning,
        max_pixels=config.input.max_pixels,
    )


def _trainer(model: FasterRCNN, config: Config, batches: int, device: torch.device) -> Trainer:
    settings = config.training
    optimizer = build.optimizer_settings(settings)
    steps = settings.epochs * -(-batches // settings.accumulate)
    return Trainer(
        build.objective(model, config),
        make_optimizer(model, optimizer),
        build.schedule(settings, steps),
        optimizer.lr,
        device,
        uses_bf16(settings.precision, device),
        settings.accumulate,
        settings.clip,
    )


def _refuse_changes(stored: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """A resumed run goes on as it began: nothing that shapes it may have changed."""
    if stored["class_names"] != now["class_names"]:
        raise ConfigError(f"--resume: the run has classes {', '.join(stored['class_names'])}; the data has others")
    before, after = (_flat(m["config"]) | _flat(m["splits"], "split ") for m in (stored, now))
    changed = [key for key in after if after[key] != before.get(key) and key not in _MAY_CHANGE]
    if changed:
        key = changed[0]
        raise ConfigError(
            f"--resume: {key} is {after[key]}, but the run began with {before.get(key)}; resume with that"
        )


def _refuse_other_pictures(folder: RunFolder, dataset: DataSet, splits: Mapping[str, str]) -> None:
    """The order of pictures, and where an epoch was interrupted, mean nothing for other pictures."""
    before, now = json.loads(folder.splits.read_text("utf-8")), _ids(dataset)
    used = {*splits.values(), *(("train", "val") if "trainval" in splits.values() else ())}
    changed = sorted(name for name in used if before.get(name) != now.get(name))
    if changed:
        raise ConfigError(
            f"--resume: split {changed[0]} has other pictures than when the run began; "
            "restore them, or begin anew with --overwrite"
        )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    rows: dict[str, Any] = {}
    for key, value in tree.items():
        rows |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return rows
