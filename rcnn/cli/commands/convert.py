"""`rcnn convert`."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from rcnn.cli import options as o
from rcnn.paths import refuse_existing
from rcnn.presets.sources import refuse_exported, refuse_ours, refuse_unreadable
from rcnn.report.words import counted
from rcnn.runs.smaller import refuse_taken


def convert(
    run: o.RunArgument,
    out: Annotated[
        Path, typer.Option(callback=o.writable, help="The file to write, NAME.pth; with --to run a folder.")
    ],
    to: Annotated[
        Literal["torchvision", "run"], typer.Option(help="What shall read it: that library, or this one.")
    ] = "torchvision",
    weights: o.OthersWeights = None,
    overwrite: o.Overwrite = False,
) -> None:
    """Write a run's weights as a state dict that another library's model loads, or such a model as a run.

    On the way out both networks are run and held against each other first; what builds the other one is printed.
    """
    if to == "run":
        return keep(run, out, weights, overwrite)
    refuse_existing(out, overwrite)
    refuse_exported(run)
    refuse_unreadable(run)
    from rcnn.api.converting import to_torchvision

    done = to_torchvision(run, out, overwrite, weights)
    nearness = ", ".join(f"{part} to {difference:.0e}" for part, difference in done.differences.items())
    print(f"the same on random input: {nearness}\n")
    print("import torch, torchvision\nfrom torchvision.models.detection.anchor_utils import AnchorGenerator\n")
    print(done.code.replace("FILE", repr(str(out))))
    return print(f"\ndone: {out} holds the weights")


def keep(source: str, out: Path, weights: Path | None, overwrite: bool) -> None:
    """Make a run of another library's model."""
    refuse_ours(source)
    refuse_taken(out, overwrite)
    from rcnn.api.saving import save

    whole = save(source, out, weights, overwrite)
    print(f"done: {out} holds the run, of {counted(len(whole.detector.class_names), 'class', 'classes')}")
    print(f"next: rcnn evaluate {shlex.quote(str(out))} DATA")
