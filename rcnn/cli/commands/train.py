"""`rcnn train`."""

from pathlib import Path
from typing import Any

from rcnn.cli import options as o
from rcnn.cli.settings import begun_with, size_options, training_options
from rcnn.paths import refuse_missing_data, refuse_missing_proposals, refuse_missing_weights
from rcnn.presets.overrides import OPTIONS, override
from rcnn.runs import RunFolder


def train(
    data: o.DataArgument,
    preset_name: o.PresetName = None,
    out: o.Out = None,
    epochs: o.Epochs = None,
    batch: o.Batch = None,
    size: o.Size = None,
    lr: o.Rate = None,
    device: o.Device = "auto",
    precision: o.TrainingPrecision = None,
    compile: o.TrainingCompile = None,
    seed: o.Seed = None,
    workers: o.Workers = None,
    train_split: o.TrainSplit = None,
    val_split: o.ValSplit = None,
    backbone_weights: o.BackboneWeights = None,
    start_from: o.StartFrom = None,
    weights: o.StartWeights = None,
    scheme: o.Scheme = None,
    proposals: o.ProposalsFile = None,
    bad_boxes: o.TrainingBadBoxes = None,
    data_format: o.DataFormat = None,
    resume: o.Resume = False,
    overwrite: o.Overwrite = False,
    no_report: o.NoReport = False,
    config_file: o.ConfigFile = None,
    sets: o.Sets = None,
) -> int:
    """Train a detector on a data set: a folder with the best and newest weights, settings, and metrics by epoch."""
    out = out or Path("runs") / (data.stem if data.suffix else data.resolve().name)
    options = training_options(epochs, batch, lr, precision, seed, workers, compile, scheme) | size_options(size)
    config = override(begun_with(out, preset_name, start_from, resume), config_file, sets or (), options, OPTIONS)
    refuse_what_cannot_begin(RunFolder(out), resume, overwrite, data, proposals, backbone_weights)
    from rcnn.cli.train import run

    how: dict[str, Any] = {"train_split": train_split, "val_split": val_split, "resume": resume, "overwrite": overwrite}
    how |= {"proposals": proposals, "backbone_weights": backbone_weights, "start_from": start_from, "device": device}
    how |= {"start_weights": weights, "bad_boxes": bad_boxes, "format": data_format}
    return run(data, out, config, not no_report, **how)


def refuse_what_cannot_begin(
    folder: RunFolder, resume: bool, overwrite: bool, data: Path, proposals: Path | None, weights: str | None
) -> None:
    """Raise an error where the run's folder is taken, or for what is named and not there."""
    folder.stored(resume, overwrite)
    refuse_missing_data(data)
    if proposals:
        refuse_missing_proposals(proposals)
    if weights not in (None, "none"):
        refuse_missing_weights(Path(str(weights)))
