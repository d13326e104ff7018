"""`rcnn pretrain`."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rcnn.api.pretraining import PreparedClassifier, is_finished, prepare_pretraining
from rcnn.cli import options as o
from rcnn.cli.progress import TrainingProgress
from rcnn.report.words import counted
from rcnn.training.session import Stopped

_log = logging.getLogger(__name__)

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="FOLDER/CLASS/*.jpg, with train/ and val/ above or not; or CIFAR-10.")
]
Name = Annotated[str | None, typer.Option("--backbone", help="The network; mobilenet-v2 unless given.")]
OutFile = Annotated[Path | None, typer.Option(help="A .safetensors or .pth file; BACKBONE.safetensors unless given.")]
Epochs = Annotated[int | None, typer.Option(help="Passes in which everything learns; 10 unless given.")]
FrozenEpochs = Annotated[
    int | None, typer.Option(help="Passes before, in which the new layer alone learns; 2 on weights, else 0.")
]
Rate = Annotated[float | None, typer.Option(help="AdamW's rate for new layers; for pretrained ones a tenth.")]
Side = Annotated[int | None, typer.Option(help="Side of the network's input in pixels; 224, for CIFAR-10 64.")]
Weights = Annotated[str | None, typer.Option(help="A file to begin with, or none; else torchvision's.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that prepare pictures.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what was interrupted, with its own settings.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file of the same name.")]


def pretrain(
    folder: Folder,
    backbone: Name = None,
    out: OutFile = None,
    epochs: Epochs = None,
    frozen_epochs: FrozenEpochs = None,
    batch: o.Batch = None,
    lr: Rate = None,
    size: Side = None,
    device: o.Device = "auto",
    precision: o.TrainingPrecision = None,
    seed: o.Seed = None,
    workers: Workers = 0,
    weights: Weights = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> int:
    """Train a backbone as a classifier of pictures that lie in a folder for each class, or of CIFAR-10.

    Leaves a file of weights that --backbone-weights takes: those of the epoch that classifies most pictures right.
    """
    settings = {"backbone": backbone, "epochs": epochs, "frozen_epochs": frozen_epochs, "batch": batch, "lr": lr}
    settings |= {"size": size, "precision": precision, "seed": seed, "weights": weights}
    out = out or Path(f"{backbone or 'mobilenet-v2'}.safetensors")
    if resume and not overwrite and is_finished(out):
        print(f"done: {out} is finished already; --overwrite begins anew")
        return 0
    listener, begin = PretrainingProgress(out.parent), {"resume": resume, "overwrite": overwrite}
    prepared = prepare_pretraining(folder, out, listener, settings, device=device, workers=workers, **begin)
    _show_plan(prepared)
    try:
        with listener:
            accuracy = prepared.session.run()
    except Stopped as stopped:
        print(f"rcnn: {stopped}", file=sys.stderr)
        return 130
    name = prepared.settings.backbone
    print(f"done: accuracy {accuracy:.3f}; next: rcnn train DATA --set model.backbone={name} --backbone-weights {out}")
    return 0


class PretrainingProgress(TrainingProgress):
    """Bars as in training, and a line an epoch; no events are written."""

    def epoch_ended(self, rows: Sequence[dict[str, Any]], best: bool) -> None:
        """The epoch's numbers."""
        train, val = rows
        losses = f"train loss {train['loss']:.3f}, val loss {val['loss']:.3f}"
        line = f"epoch {val['epoch']}  {losses}, accuracy {val['accuracy']:.3f}"
        _log.info("%s  %.1f pictures/s%s", line, train["images_per_second"], "  (best so far)" if best else "")


def _show_plan(prepared: PreparedClassifier) -> None:
    """What is about to be trained on what, and what it begins with."""
    session, settings, report = prepared.session, prepared.settings, prepared.report
    train, val = len(session.train.samples), len(session.val.samples)
    classes = counted(len(prepared.class_names), "class", "classes")
    print(f"{counted(train, 'picture')} to learn from, {val} to measure by, {classes}")
    resumed = session.progress.epoch > 1 or session.progress.batches > 0
    begins = f"{len(report.loaded)} tensors loaded, {len(report.kept)} random" if report else "random weights"
    print(f"{settings.backbone} at {settings.size} pixels: {'as it was left' if resumed else begins}")
    rates = [f"{counted(p.epochs, 'epoch')} of {_what(p.last_only)} at {p.lr:g}" for p in session.phases if p.epochs]
    print(f"{', then '.join(rates)}; {'bf16' if session.bf16 else 'fp32'} on {session.device}; to {session.out}")


def _what(last_only: bool) -> str:
    return "the new layer" if last_only else "everything"
