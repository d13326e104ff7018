"""`rcnn export`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rcnn.api.exporting import SUFFIXES, Exported, FormatName, Plan, export
from rcnn.cli import options as o
from rcnn.cli.picture_files import find_pictures
from rcnn.cli.tables import show_table
from rcnn.errors import ConfigError
from rcnn.export.metadata import Precision

_console = Console(highlight=False, markup=False, emoji=False)


def export_run(
    run: o.RunArgument,
    format: Annotated[FormatName, typer.Option("--format", help="onnx, openvino, or torch (a .pt2 program).")] = "onnx",
    out: Annotated[
        Path | None, typer.Option(help="The file to write; model.onnx, .xml or .pt2 beside RUN's unless given.")
    ] = None,
    batch: Annotated[str, typer.Option(metavar="N|dynamic", help="Pictures at a time: a number, or any.")] = "dynamic",
    input: Annotated[
        str, typer.Option("--input", metavar="uint8|normalised", help="Canvases of bytes, or of the network's numbers.")
    ] = "uint8",
    with_resize: Annotated[
        bool, typer.Option("--with-resize", help="Take one picture of any size, and resize it inside.")
    ] = False,
    half: Annotated[bool, typer.Option("--half", help="Weights of 16 bits (fp16): half the size.")] = False,
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Compute in bf16: OpenVINO where the processor can, and torch.")
    ] = False,
    int8: Annotated[
        Path | None, typer.Option("--int8", metavar="DATA", help="8 bits, calibrated on the training split of DATA.")
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option("--eval", metavar="DATA", help="With --int8: say what AP it costs, and keep that small."),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="With --eval: the part of the data.")] = "val",
    points: Annotated[float, typer.Option(min=0, help="With --eval: points of AP that may be lost.")] = 0.5,
    pictures: Annotated[
        list[str] | None,
        typer.Option("--pictures", metavar="FILE", help="What both look at to be compared; repeatable."),
    ] = None,
    score: Annotated[float | None, typer.Option(min=0, max=1, help="Least score; the run's unless given.")] = None,
    nms: Annotated[
        float | None, typer.Option(min=0, max=1, help="Overlap of boxes of a class; the run's unless given.")
    ] = None,
    detections: Annotated[int | None, typer.Option(min=1, help="Most of a picture; the run's unless given.")] = None,
    weights: o.OthersWeights = None,
    overwrite: o.Overwrite = False,
) -> None:
    """Write a detector as a file for ONNX Runtime, OpenVINO or torch, NMS inside, outputs of fixed size.

    Before it is written, the file's graph and the original look at the same pictures, stage by stage, alone and in
    batches, on two canvases, with and without anything to find; where they differ nothing is written.
    """
    kind = _kind(input, with_resize)
    plan = Plan(format, kind, _batch(batch), _precision(half, bf16, int8 is not None), score, nms, detections)
    path = out or _beside(run, SUFFIXES[format])
    done = export(
        run,
        path,
        plan,
        weights=weights,
        pictures=find_pictures(pictures or ()),
        calibration=int8,
        evaluation=evaluation,
        evaluation_split=split,
        points=points,
        overwrite=overwrite,
        tell=lambda line: print(line, flush=True),
    )
    show(done)


def _kind(input: str, with_resize: bool) -> str:
    if input not in ("uint8", "normalised"):
        raise ConfigError(f"--input {input}: give uint8 or normalised")
    if with_resize and input == "normalised":
        raise ConfigError("--with-resize: takes a picture of bytes; leave --input normalised out")
    return "picture" if with_resize else input


def _batch(word: str) -> int | None:
    """A number of pictures, None for any."""
    if word == "dynamic":
        return None
    if not word.isdigit() or int(word) < 1:
        raise ConfigError(f"--batch {word}: give dynamic, or a number from 1")
    return int(word)


def _precision(half: bool, bf16: bool, int8: bool) -> Precision:
    if half + bf16 + int8 > 1:
        raise ConfigError("--half, --bf16 and --int8: give one of them")
    return "fp16" if half else "bf16" if bf16 else "int8" if int8 else "fp32"


def _beside(run: str, suffix: str) -> Path:
    """The file's name where none is given: in the run's folder, or here for what has none."""
    folder = Path(run)
    return (folder if folder.is_dir() else Path()) / f"model{suffix}"


def show(done: Exported) -> None:
    """Print how near the file comes to the original, how fast it is, and what 8 bits cost."""
    near, seconds = done.nearness, done.seconds
    rows = [
        ("features", f"{near.features:.1e} of the largest"),
        ("proposals", f"{near.proposals:.1%} the same"),
        ("pooled features", f"{near.pooled:.1e} of the largest"),
        ("detections", f"{near.detections:.1%} the same ({near.found} in all)"),
    ]
    show_table(_console, ("stage", "difference to the original"), rows)
    original, exported = 1000 * seconds["original"], 1000 * seconds["exported"]
    print(f"a picture takes {exported:.0f} ms, in the original {original:.0f} ms ({original / exported:.2f}x)")
    if done.kept is not None:
        kept = done.kept
        print(f"AP {kept.full:.2f} in fp32, {kept.score:.2f} in 8 bits: {kept.lost:.2f} points lost")
        for part, cost in kept.costs.items():
            stays = "stays in floating point" if part in kept.kept else "8 bits"
            print(f"  {part}: costs {cost:.2f} points alone, {stays}")
    print(f"done: {done.path} holds the detector; next: rcnn predict {done.path} PICTURES --out FOLDER")
