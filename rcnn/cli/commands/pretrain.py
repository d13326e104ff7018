"""`rcnn pretrain`."""

from pathlib import Path
from typing import Annotated

import typer

from rcnn.cli import options as o
from rcnn.config.pretraining import checked
from rcnn.paths import refuse_missing_classes, refuse_missing_weights

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="FOLDER/CLASS/*.jpg, with train/ and val/ above or not; or CIFAR-10.")
]
Name = Annotated[str | None, typer.Option("--backbone", help="The network; mobilenet-v2 unless given.")]
OutFile = Annotated[
    Path | None,
    typer.Option(callback=o.writable, help="A .safetensors or .pth file; BACKBONE.safetensors unless given."),
]
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
    settings = {name: value for name, value in settings.items() if value is not None}
    checked(settings)
    refuse_missing_classes(folder)
    if weights not in (None, "none"):
        refuse_missing_weights(Path(str(weights)))
    from rcnn.cli.pretrain import run

    return run(folder, out, settings, device=device, workers=workers, resume=resume, overwrite=overwrite)
