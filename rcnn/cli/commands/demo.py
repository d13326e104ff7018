"""`rcnn demo`: the whole way, on data that the library brings along."""

from pathlib import Path
from typing import Annotated

import typer

from rcnn.cli import options as o
from rcnn.presets.overrides import OPTIONS, override, preset
from rcnn.runs import RunFolder


def demo(
    out: Annotated[Path, typer.Option(callback=o.writable_folder, help="The run's folder.")] = Path("runs/demo"),
    epochs: Annotated[int | None, typer.Option(help="Passes over the scenes.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="All chance follows from it.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace the demo's run of before.")] = False,
) -> None:
    """Train, evaluate and draw a small detector of handwritten digits, from random weights, in minutes.

    The digits are real scans; the cluttered scenes around them are made up. No download, no GPU.
    """
    config = override(preset("demo"), None, (), {"training.epochs": epochs, "training.seed": seed}, OPTIONS)
    RunFolder(out).refuse_existing(overwrite)
    from rcnn.cli.demo import run

    run(out, config, seed, overwrite)
