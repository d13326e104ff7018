"""From data and settings to a run that can begin, and a run that has ended."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from rcnn import build
from rcnn.acceleration.dense import compile_dense
from rcnn.api.data import Data, read_data, split, with_splits_of
from rcnn.api.loading import load
from rcnn.api.regions import with_regions
from rcnn.api.resuming import ids_of, refuse_changes, refuse_other_pictures
from rcnn.api.transfer import Kept, begun_from, read_source, source_config, transfer
from rcnn.api.workshop import Workshop
from rcnn.backbones import LoadReport
from rcnn.backbones.timm_networks import PREFIX, timm_colours
from rcnn.config import Config
from rcnn.data import Format, Policy
from rcnn.data.repeats import balanced_weights
from rcnn.errors import ConfigError
from rcnn.inference.predictor import Detector
from rcnn.methods import Method
from rcnn.presets import DEFAULT_PRESET
from rcnn.presets.overrides import override, preset
from rcnn.presets.sources import config_of, stored_config
from rcnn.presets.yaml import to_yaml
from rcnn.runs import RunFolder, write_text
from rcnn.sample import DataSet, Sample
from rcnn.training.journal import Journal
from rcnn.training.session import Listener, choose_device
from rcnn.training.staged import StagedTraining

_log = logging.getLogger(__name__)

Weights = Path | str | None
"""A file; `none` for random weights; None for torchvision's."""
_FILES = ("proposals", "backbone_weights", "start_from", "start_weights")
"""What a run begins with beside its data and settings."""


@dataclass(frozen=True)
class Prepared:
    """A run that can begin: what the command line shows before it does."""

    training: StagedTraining
    workshop: Workshop
    report: LoadReport | None
    """What of the pretrained weights fitted; None without them."""
    transferred: tuple[Kept, ...] = ()
    """What became of each class of the run that this one begins from; empty without one."""

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
    start_from: Path | str | None = None,
    start_weights: Path | str | None = None,
) -> Prepared:
    """Read the data, build the network and make the run's folder. With `resume` what is not given is as before.

    Splits are `train` and `val` unless named; `val_split` may be `none`: then the newest weights are the best.
    `proposals`: a file of regions for methods that make none; without it `search_workers` processes search.
    `start_from`: a run, or `LIBRARY:NAME` (its file is `start_weights`); its weights and head rows by name are taken.
    """
    folder, where = RunFolder(Path(out)), choose_device(device)
    stored = folder.stored(resume, overwrite)
    reading = _reading(data, stored, bad_boxes, format, (proposals, backbone_weights, start_from, start_weights))
    config, pretrained = _settings(config, stored, folder, reading)
    dataset, splits, config = _dataset(data, config, folder, stored, reading, train_split, val_split)
    model, report, kept = _network(config, dataset.class_names, reading, stored is None, pretrained, where)
    stages = build.stages(model.to(where), config, dataset.class_names)
    train, val = _samples(dataset, splits, config, reading["proposals"], search_workers)
    workshop = Workshop(model, config, folder, dataset.class_names, train, val, where, listener)
    about = _metadata(config, dataset, splits, reading)
    training = StagedTraining(stages, model, folder, about, workshop.tools(), listener)
    if stored is None:
        _make_folder(folder, overwrite, config, dataset)
    training.resume() if stored else training.begin()
    return Prepared(training, workshop, report, kept)


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
    `search_workers`, `start_from` (a run), `start_weights` (a file), `device`, `resume`, `overwrite`, `bad_boxes`,
    `format`, `listener`.
    Training to the end leaves the run in the folder `out`.
    Raises ConfigError, DataError or WeightsError for what is wrong in them, and KeyboardInterrupt, with the state
    saved, after Ctrl-C.
    """
    if unknown := set(options) - set(signature(prepare_training).parameters):
        name = min(unknown)
        raise ConfigError(f"{name}: not an option of rcnn.train; settings go into settings={{{name!r}: ...}}")
    chosen = preset(config) if isinstance(config, str) else config
    if settings:
        chosen = override(chosen or _begun(Path(out), options), None, (), settings)
    options.setdefault("listener", Journal(RunFolder(Path(out)).events))
    prepare_training(data, out, config=chosen, **options).training.run()
    return load(out, device=options.get("device", "auto"))


def _begun(out: Path, options: Mapping[str, Any]) -> Config:
    """The settings of a run for which none are given as a whole."""
    if options.get("resume"):
        return stored_config(out)
    return source_config(options["start_from"]) if options.get("start_from") else preset(DEFAULT_PRESET)


def _settings(
    given: Config | None, stored: Mapping[str, Any] | None, folder: RunFolder, reading: Mapping[str, Any]
) -> tuple[Config, bool]:
    """The run's settings, with nothing left to be decided, and whether its backbone begins with pretrained weights."""
    weights, source = reading["backbone_weights"], reading["start_from"]
    if reading["start_weights"] and not source:
        raise ConfigError(
            f"--weights {reading['start_weights']}: are those that --from LIBRARY:NAME begins with; give it too, or "
            "--backbone-weights for a backbone alone"
        )
    begun = preset(DEFAULT_PRESET) if stored is None else config_of(stored, folder.last)
    config = given or begun
    if source and stored is None:
        config = begun_from(given, source, weights)
    build.refuse(config)
    if source:
        return build.resolved(config, pretrained=False), False
    pretrained = build.has_weights(config.model, weights)
    if not pretrained and weights is None and stored is None:
        _log.warning(
            "%s: no weights are published, so it begins at random; rcnn pretrain makes a file for --backbone-weights",
            config.model.backbone,
        )
    if pretrained and weights is None and stored is None:
        _warn_of_colours(config)
    return build.resolved(config, pretrained), pretrained


def _warn_of_colours(config: Config) -> None:
    """Say so where a network's published weights expect other colours than it will see."""
    name, seen = config.model.backbone, config.input
    if not name.startswith(PREFIX) or seen.channels != 3:
        return
    mean, std = timm_colours(name)
    if (mean, std) != (seen.mean, seen.std):
        _log.warning(
            "%s: its weights expect another mean and deviation; pass --set 'input.mean=%s' --set 'input.std=%s'",
            name,
            list(mean),
            list(std),
        )


def _network(
    config: Config,
    class_names: Sequence[str],
    reading: Mapping[str, Any],
    begins: bool,
    pretrained: bool,
    device: torch.device,
) -> tuple[Method, LoadReport | None, tuple[Kept, ...]]:
    """The network as training begins with it: random by the seed, and what fits of a backbone's weights or of a run.

    A run that goes on does not begin: it brings its weights along. What became of each class of that run comes last.
    """
    weights, begun = reading["backbone_weights"], reading["start_from"] if begins else None
    source = read_source(begun, reading["start_weights"]) if begun else None  # first: its settings may be anything
    torch.manual_seed(config.training.seed)
    pretrained = pretrained and begins
    file = Path(weights) if weights and pretrained else None
    model, report = build.detector(config, len(class_names), file, pretrained)
    kept = transfer(model, config, class_names, source) if source else ()
    if config.training.compile:
        compile_dense(model, device)
    return model, report, tuple(kept)


def _dataset(
    data: Data,
    config: Config,
    folder: RunFolder,
    stored: Mapping[str, Any] | None,
    reading: Mapping[str, Any],
    train_split: str | None,
    val_split: str | None,
) -> tuple[DataSet, dict[str, str], Config]:
    """The data, which of its splits teach and judge, and the settings with all that follows from the data.

    For a run that goes on they must be those that it had.
    """
    dataset = read_data(data, reading["bad_boxes"], reading["format"], config.input.max_pixels, config.input.channels)
    begun = stored["splits"] if stored else {"train": "train", "val": "val"}
    splits = {"train": train_split or begun["train"], "val": val_split or begun["val"]}
    if stored is not None:
        dataset = with_splits_of(folder, dataset)
    config = _balanced(config, dataset, splits["train"])
    if config.training.patience and splits["val"] == "none":
        raise ConfigError("training.patience: without validation nothing gets worse; pass 0, or --val-split NAME")
    if stored is not None:
        refuse_changes(stored, _metadata(config, dataset, splits, reading))
        refuse_other_pictures(folder, dataset, splits)
    return dataset, splits, config


def _balanced(config: Config, dataset: DataSet, train_split: str) -> Config:
    """The settings with the weights of classes that balance them, where that is asked for."""
    if config.training.loss.class_weights != "balanced":
        return config
    weights = balanced_weights(split(dataset, train_split, "--train-split NAME"), dataset.class_names)
    loss = config.training.loss.model_copy(update={"class_weights": weights})
    return config.model_copy(update={"training": config.training.model_copy(update={"loss": loss})})


def _metadata(
    config: Config, dataset: DataSet, splits: Mapping[str, str], reading: Mapping[str, Any]
) -> dict[str, Any]:
    """What a run's files say of it, beside its weights."""
    names = {"class_names": list(dataset.class_names), "category_ids": dataset.category_ids}
    return {"config": config.model_dump(mode="json"), "splits": dict(splits), "reading": dict(reading), **names}


def _reading(
    data: Data,
    stored: Mapping[str, Any] | None,
    bad_boxes: Policy | None,
    format: Format | None,
    files: Sequence[Path | str | None],
) -> dict[str, Any]:
    """What a run begins with beside its settings: as told, or as when it began. None is the default of each."""
    given = {"bad_boxes": bad_boxes, "format": format} | {
        key: str(file) if file else None for key, file in zip(_FILES, files, strict=True)
    }
    begun = stored["reading"] if stored else {"bad_boxes": "fail"}
    return {name: value or begun.get(name) for name, value in given.items()} | _place(data)


def _place(data: Data) -> dict[str, Any]:
    """Where the data is, for what comes after training; nothing for samples of a program."""
    return {"data": str(data)} if isinstance(data, Path | str) else {}


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
