"""`rcnn convert`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from rcnn.cli import options as o
from rcnn.paths import refuse_existing
from rcnn.presets.sources import refuse_unreadable


def convert(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    out: Annotated[Path, typer.Option(help="The file to write, NAME.pth.")],
    to: Annotated[Literal["torchvision"], typer.Option(help="The library that shall read it.")] = "torchvision",
    overwrite: o.Overwrite = False,
) -> None:
    """Write a run's weights as a state dict that another library's model loads.

    Both networks are run and held against each other first; what builds the other one is printed.
    """
    refuse_existing(out, overwrite)
    refuse_unreadable(str(run))
    from rcnn.api.converting import to_torchvision

    done = to_torchvision(run, out, overwrite)
    nearness = ", ".join(f"{part} to {difference:.0e}" for part, difference in done.differences.items())
    print(f"the same on random input: {nearness}\n")
    print("import torch, torchvision\nfrom torchvision.models.detection.anchor_utils import AnchorGenerator\n")
    print(done.code.replace("FILE", repr(str(out))))
    print(f"\ndone: {out} holds the weights")
