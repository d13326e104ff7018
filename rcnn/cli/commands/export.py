"""`rcnn export`."""

from pathlib import Path
from typing import Annotated

import typer

from rcnn.cli import options as o
from rcnn.cli.picture_files import find_pictures
from rcnn.errors import ConfigError
from rcnn.export.metadata import Precision
from rcnn.export.plan import SUFFIXES, FormatName, Kind, Plan, refuse, refuse_existing
from rcnn.export.sensitivity import BOUND
from rcnn.paths import refuse_missing_data
from rcnn.presets.sources import refuse_exported, refuse_unreadable

SPLIT = "val"
Model = Annotated[str, typer.Argument(metavar="RUN", help="The folder of a run, torchvision:NAME or detectron2:NAME.")]
Replace = Annotated[bool, typer.Option("--overwrite", help="Replace a file of the same name.")]
Form = Annotated[FormatName, typer.Option("--format", help="onnx, openvino, or torch (a .pt2 program).")]
File = Annotated[
    Path | None,
    typer.Option(callback=o.writable, help="The file to write; model.onnx, .xml or .pt2 beside RUN's unless given."),
]
Batch = Annotated[str, typer.Option(metavar="N|dynamic", help="Pictures at a time: a number, or any.")]
Input = Annotated[
    str, typer.Option("--input", metavar="uint8|normalised", help="Canvases of bytes, or of the network's numbers.")
]
Resize = Annotated[bool, typer.Option("--with-resize", help="Take one picture of any size, and resize it inside.")]
Half = Annotated[bool, typer.Option("--half", help="Weights of 16 bits (fp16): half the size.")]
Bf16 = Annotated[bool, typer.Option("--bf16", help="Compute in bf16 where the processor can: OpenVINO.")]
Int8 = Annotated[
    Path | None, typer.Option("--int8", metavar="DATA", help="8 bits, calibrated on the training split of DATA.")
]
Evaluation = Annotated[
    Path | None, typer.Option("--eval", metavar="DATA", help="With --int8: say what AP it costs, and keep that small.")
]
Split = Annotated[str, typer.Option("--split", help="With --eval: the part of the data.")]
Points = Annotated[float, typer.Option(min=0, help="With --eval: points of AP that may be lost.")]
Pictures = Annotated[
    list[str] | None, typer.Option("--pictures", metavar="FILE", help="What both look at to be compared; repeatable.")
]
Score = Annotated[float | None, typer.Option(min=0, max=1, help="Least score; the run's unless given.")]
Overlap = Annotated[
    float | None, typer.Option(min=0, max=1, help="NMS threshold (IoU) within a class; the run's unless given.")
]
Most = Annotated[int | None, typer.Option(min=1, help="Most detections of a picture; the run's unless given.")]


def export(
    run: Model,
    format: Form = "onnx",
    out: File = None,
    batch: Batch = "dynamic",
    input: Input = "uint8",
    with_resize: Resize = False,
    half: Half = False,
    bf16: Bf16 = False,
    int8: Int8 = None,
    evaluation: Evaluation = None,
    split: Split = SPLIT,
    points: Points = BOUND,
    pictures: Pictures = None,
    score: Score = None,
    nms: Overlap = None,
    detections: Most = None,
    weights: o.OthersWeights = None,
    overwrite: Replace = False,
) -> None:
    """Write a detector as a file for ONNX Runtime, OpenVINO or torch, NMS inside, outputs of fixed size.

    Before it is written, the file's graph and the original look at the same pictures, stage by stage, alone and in
    batches, on two canvases, with and without anything to find; where they differ nothing is written.
    """
    kind, precision = _kind(input, with_resize), _precision(half, bf16, int8 is not None)
    plan = Plan(format, kind, _batch(batch), precision, score, nms, detections)
    path, files = out or _beside(run, SUFFIXES[format]), find_pictures(pictures or ())
    refuse(plan, path, int8, evaluation)
    for option, value, usual in (("--split", split, SPLIT), ("--points", points, BOUND)):
        if evaluation is None and value != usual:
            raise ConfigError(f"{option} {value}: is for --eval DATA, which says what 8 bits cost; pass both")
    refuse_missing(run, int8, evaluation)
    refuse_existing(plan, path, overwrite)
    from rcnn.api import exporting
    from rcnn.cli.export import show, tell

    given = {"weights": weights, "pictures": files, "overwrite": overwrite, "tell": tell}
    scored = {"calibration": int8, "evaluation": evaluation, "evaluation_split": split, "points": points}
    show(exporting.export(run, path, plan, **given, **scored))  # type: ignore[arg-type]


def refuse_missing(run: str, *data: Path | None) -> None:
    """Raise an error for a run that is not there or has no weights, and for data that is not there."""
    refuse_exported(run)
    refuse_unreadable(run)
    for place in data:
        if place is not None:
            refuse_missing_data(place)


def _kind(input: str, with_resize: bool) -> Kind:
    if input not in ("uint8", "normalised"):
        raise ConfigError(f"--input {input}: give uint8 or normalised")
    if with_resize and input == "normalised":
        raise ConfigError("--with-resize: takes a picture of bytes; leave --input normalised out")
    return "picture" if with_resize else "uint8" if input == "uint8" else "normalised"


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
    place = Path(run)
    folder = place if place.is_dir() else place.parent if place.is_file() else Path()
    return folder / f"model{suffix}"
