"""`rcnn train`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from rcnn import api
from rcnn.cli.presets import ConfigFile, Sets
from rcnn.cli.progress import TrainingProgress, show_plan
from rcnn.config import Config
from rcnn.data import Format, Policy
from rcnn.presets.overrides import override, preset
from rcnn.runs import RunFolder
from rcnn.training.session import Stopped


def train(
    data: Annotated[Path, typer.Argument(help="A folder in VOC or COCO form, or a COCO file.")],
    preset_name: Annotated[str, typer.Option("--preset", help="One that 'rcnn presets' lists.")] = api.DEFAULT_PRESET,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME-OF-DATA unless given.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training pictures.")] = None,
    batch: Annotated[int | None, typer.Option(help="Pictures a step.")] = None,
    size: Annotated[
        int | None, typer.Option(help="Short side of the resized pictures; the long one is at most 5/3.")
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate; with sgd for 16 pictures a step, then scaled.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"] | None, typer.Option(help="auto: bf16 where it is fast.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="All chance follows from it.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that prepare pictures.")] = None,
    train_split: Annotated[str | None, typer.Option(help="Split to learn from (train), also trainval.")] = None,
    val_split: Annotated[str | None, typer.Option(help="Split to choose the best epoch by (val), or none.")] = None,
    backbone_weights: Annotated[
        str | None, typer.Option(help="A file, or none; else torchvision's ImageNet weights.")
    ] = None,
    bad_boxes: Annotated[Policy, typer.Option(help="What to do about defective boxes and pictures.")] = "fail",
    data_format: Annotated[Format | None, typer.Option("--format", help="Of the data; else recognised.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with a run that was interrupted, with its own settings.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace a run of the same name.")] = False,
    config_file: ConfigFile = None,
    sets: Sets = None,
) -> int:
    """Train a detector on a data set.

    Leaves a folder with the best and the newest weights, the settings, and the metrics of each epoch.
    """
    out = out or Path("runs") / (data.stem if data.suffix else data.resolve().name)
    options = {
        "training.epochs": epochs,
        "training.batch": batch,
        "input.short": size,
        "input.long": size * 5 // 3 if size else None,
        "training.lr": lr,
        "training.precision": precision,
        "training.seed": seed,
        "training.workers": workers,
    }
    config = override(_base(preset_name, out, resume), config_file, sets or (), options)
    listener = TrainingProgress(RunFolder(out).events)
    prepared = api.prepare_training(
        data,
        out,
        listener,
        config,
        train_split=train_split,
        val_split=val_split,
        backbone_weights=backbone_weights,
        device=device,
        resume=resume,
        overwrite=overwrite,
        bad_boxes=bad_boxes,
        format=data_format,
    )
    show_plan(prepared)
    try:
        with listener:
            prepared.session.run()
    except Stopped as stopped:
        print(f"rcnn: {stopped}", file=sys.stderr)
        return 130
    print(f"done: {out} holds the run; next: rcnn evaluate {out} {data} --split test")
    return 0


def _base(preset_name: str, out: Path, resume: bool) -> Config:
    """The settings that options are laid over: those of the run that goes on, or the preset's."""
    return api.stored_config(out) if resume else preset(preset_name)
