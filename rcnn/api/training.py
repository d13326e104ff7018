"""From data and settings to a run that can begin, and a run that has ended."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from rcnn import build
from rcnn.acceleration.dense import compile_dense
from rcnn.api.data import Data, read_data, split, with_splits_of
from rcnn.api.loading import config_of, load, stored_config
from rcnn.api.regions import with_regions
from rcnn.api.resuming import ids_of, refuse_changes, refuse_other_pictures, stored_run
from rcnn.api.workshop import Workshop
from rcnn.backbones import LoadReport
from rcnn.config import Config
from rcnn.data import Format, Policy
from rcnn.errors import ConfigError
from rcnn.inference.predictor import Detector
from rcnn.methods import Method
from rcnn.presets.overrides import override, preset
from rcnn.presets.yaml import to_yaml
from rcnn.runs import RunFolder, write_text
from rcnn.sample import DataSet, Sample
from rcnn.training.journal import Journal
from rcnn.training.session import Listener, choose_device
from rcnn.training.staged import StagedTraining

_log = logging.getLogger(__name__)

DEFAULT_PRESET = "faster-rcnn-mobilenet-fpn"
Weights = Path | str | None
"""A file; `none` for random weights; None for torchvision's."""


@dataclass(frozen=True)
class Prepared:
    """A run that can begin: what the command line shows before it does."""

    training: StagedTraining
    workshop: Workshop
    report: LoadReport | None
    """What of the pretrained weights fitted; None without them."""

    @property
    def config(self) -> Config:
        """The settings, with nothing left to be decided."""
        return self.workshop.config

    @property
    def class_names(self) -> tuple[str, ...]:
        """What can be found."""
        return self.workshop.class_names


def prepare_training(
    data: Data,
    out: Path | str,
    listener: Listener,
    config: Config | None = None,
    *,
    train_split: str | None = None,
    val_split: str | None = None,
    backbone_weights: Weights = None,
    proposals: Path | str | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    bad_boxes: Policy | None = None,
    format: Format | None = None,
    search_workers: int = 0,
) -> Prepared:
    """Read the data, build the network and make the run's folder. With `resume` what is not given is as before.

    Splits are `train` and `val` unless named; `val_split` may be `none`: then the newest weights are the best.
    `proposals`: a file of regions for methods that make none; without it `search_workers` processes search.
    """
    folder, where = RunFolder(Path(out)), choose_device(device)
    stored = stored_run(folder, resume, overwrite)
    reading = _reading(stored, bad_boxes, format, proposals, backbone_weights)
    config, pretrained = _settings(config, stored, folder, reading["backbone_weights"])
    dataset, splits = _dataset(data, config, folder, stored, reading, train_split, val_split)
    fresh = pretrained and stored is None  # a run that goes on brings its weights along
    model, report = _network(config, len(dataset.class_names), backbone_weights, fresh, where)
    stages = build.stages(model.to(where), config)
    train, val = _samples(dataset, splits, config, reading["proposals"], search_workers)
    workshop = Workshop(model, config, folder, dataset.class_names, train, val, where, listener)
    about, tools = _metadata(config, dataset, splits, reading), workshop.tools()
    training = StagedTraining(stages, model, folder, about, tools, listener)
    if stored is not None:
        training.resume()
        return Prepared(training, workshop, report)
    _make_folder(folder, overwrite, config, dataset)
    training.begin()
    return Prepared(training, workshop, report)


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
    `prepare_training`: `train_split`, `val_split`, `backbone_weights` (a file or "none"), `proposals` (a file),
    `search_workers`, `device`, `resume`, `overwrite`, `bad_boxes`, `format`, `listener`. Training to the end leaves
    the run in the folder `out`.
    Raises ConfigError, DataError or WeightsError for what is wrong in them, and KeyboardInterrupt, with the state
    saved, after Ctrl-C.
    """
    if unknown := set(options) - set(signature(prepare_training).parameters):
        name = min(unknown)
        raise ConfigError(f"{name}: not an option of rcnn.train; settings go into settings={{{name!r}: ...}}")
    chosen = preset(config) if isinstance(config, str) else config
    if settings:
        begun = stored_config(Path(out)) if options.get("resume") else preset(DEFAULT_PRESET)
        chosen = override(chosen or begun, None, (), settings)
    options.setdefault("listener", Journal(RunFolder(Path(out)).events))
    prepare_training(data, out, config=chosen, **options).training.run()
    return load(out, device=options.get("device", "auto"))


def _settings(
    given: Config | None, stored: Mapping[str, Any] | None, folder: RunFolder, weights: Weights
) -> tuple[Config, bool]:
    """The run's settings, with nothing left to be decided, and whether it begins with pretrained weights."""
    begun = preset(DEFAULT_PRESET) if stored is None else config_of(stored, folder.last)
    config = given or begun
    build.refuse(config)
    pretrained = build.has_weights(config.model, weights)
    if not pretrained and weights is None and stored is None:
        _log.warning(
            "%s: no weights are published, so it begins at random; rcnn pretrain makes a file for --backbone-weights",
            config.model.backbone,
        )
    return build.resolved(config, pretrained), pretrained


def _network(
    config: Config, classes: int, weights: Weights, pretrained: bool, device: torch.device
) -> tuple[Method, LoadReport | None]:
    """The network as training begins with it: random by the seed, and of the weights what fits."""
    torch.manual_seed(config.training.seed)
    model, report = build.detector(config, classes, Path(weights) if weights and pretrained else None, pretrained)
    if config.training.compile:
        compile_dense(model, device)
    return model, report


def _dataset(
    data: Data,
    config: Config,
    folder: RunFolder,
    stored: Mapping[str, Any] | None,
    reading: Mapping[str, Any],
    train_split: str | None,
    val_split: str | None,
) -> tuple[DataSet, dict[str, str]]:
    """The data, and which of its splits teach and judge; for a run that goes on they must be those that it had."""
    dataset = read_data(data, reading["bad_boxes"], reading["format"], config.input.max_pixels, config.input.channels)
    begun = stored["splits"] if stored else {"train": "train", "val": "val"}
    splits = {"train": train_split or begun["train"], "val": val_split or begun["val"]}
    if stored is not None:
        dataset = with_splits_of(folder, dataset)
        refuse_changes(stored, _metadata(config, dataset, splits, reading))
        refuse_other_pictures(folder, dataset, splits)
    return dataset, splits


def _metadata(
    config: Config, dataset: DataSet, splits: Mapping[str, str], reading: Mapping[str, Any]
) -> dict[str, Any]:
    """What a run's files say of it, beside its weights."""
    names = {"class_names": list(dataset.class_names), "category_ids": dataset.category_ids}
    return {"config": config.model_dump(mode="json"), "splits": dict(splits), "reading": dict(reading), **names}


def _reading(
    stored: Mapping[str, Any] | None,
    bad_boxes: Policy | None,
    format: Format | None,
    proposals: Path | str | None,
    weights: Weights,
) -> dict[str, Any]:
    """What a run begins with beside its settings: as told, or as when it began. None is the default of each."""
    files = {"proposals": proposals, "backbone_weights": weights}
    given = {"bad_boxes": bad_boxes, "format": format} | {
        key: str(file) if file else None for key, file in files.items()
    }
    begun = stored["reading"] if stored else {"bad_boxes": "fail"}
    return {name: value or begun.get(name) for name, value in given.items()}


def _samples(
    dataset: DataSet, splits: Mapping[str, str], config: Config, proposals: str | None, workers: int
) -> tuple[list[Sample], list[Sample]]:
    """What to learn from, and what to choose the best epoch by, with regions where the method needs them."""
    train = split(dataset, splits["train"], "--train-split NAME")
    val = [] if splits["val"] == "none" else split(dataset, splits["val"], "--val-split NAME or none")
    proposer = build.proposer(config, training=True)
    train, val = (with_regions(part, dataset, proposer, proposals, workers) for part in (train, val))
    return train, val


def _make_folder(folder: RunFolder, overwrite: bool, config: Config, dataset: DataSet) -> None:
    """Make the folder, now that all else is in order, and write down what is about to happen."""
    folder.create(overwrite)
    write_text(folder.config, to_yaml(config))
    write_text(folder.splits, json.dumps(ids_of(dataset)))
