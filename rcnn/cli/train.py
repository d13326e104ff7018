"""`rcnn train`."""

from pathlib import Path

from rcnn import api
from rcnn.api.reporting import report_of_training
from rcnn.cli import options as o
from rcnn.cli.progress import TrainingProgress, show_plan, trained
from rcnn.config import Config
from rcnn.presets.overrides import OPTIONS, override, preset
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
    begun = resume and not preset_name  # the same command with --resume behind it serves, and so does --resume alone
    base = api.stored_config(out) if begun else _base(preset_name, start_from)
    options = training_options(epochs, batch, lr, precision, seed, workers, compile, scheme) | size_options(size)
    config = override(base, config_file, sets or (), options, OPTIONS)
    prepare = {"train_split": train_split, "val_split": val_split, "backbone_weights": backbone_weights}
    regions = {"proposals": proposals, "search_workers": o.cores(), "start_from": start_from, "start_weights": weights}
    checks = {"bad_boxes": bad_boxes, "format": data_format, "resume": resume, "overwrite": overwrite}
    return run(data, out, config, not no_report, device=device, **prepare, **regions, **checks)


def _base(preset_name: str | None, start_from: str | None) -> Config:
    """The settings over which those of the command are laid."""
    begins = start_from is not None and preset_name is None
    return api.source_config(str(start_from)) if begins else preset(preset_name or api.DEFAULT_PRESET)


def run(data: Path, out: Path, config: Config, with_report: bool, **options: object) -> int:
    """Train to the end, or until asked to stop, and write the report; the exit status."""
    listener = TrainingProgress(RunFolder(out).events)
    prepared = api.prepare_training(data, out, listener, config, **options)  # type: ignore[arg-type]
    show_plan(prepared)
    if not trained(prepared, listener):
        return 130
    if with_report and (page := report_of_training(prepared, data.resolve().name)):
        print(f"report: {page}")
    print(f"done: {out} holds the run; next: rcnn evaluate {out} {data} --split test")
    return 0


def training_options(
    epochs: int | None,
    batch: int | None,
    lr: float | None,
    precision: str | None,
    seed: int | None,
    workers: int | None,
    compile: bool | None,
    scheme: str | None,
) -> dict[str, object]:
    """The options of training by the settings that they stand for."""
    given = {"epochs": epochs, "batch": batch, "lr": lr, "precision": precision, "seed": seed, "workers": workers}
    given |= {"compile": compile, "scheme": scheme}
    return {f"training.{name}": value for name, value in given.items()}


def size_options(size: int | None) -> dict[str, object]:
    """A short side, and the long side that goes with it."""
    return {"input.short": size, "input.long": size * 5 // 3} if size is not None else {}
