"""`rcnn convert-data`."""

from pathlib import Path
from typing import Annotated

import typer

from rcnn.choices import Format
from rcnn.cli import options as o
from rcnn.data.writing import Pictures, Written, refuse
from rcnn.paths import refuse_missing_data
from rcnn.report.words import counted


def convert_data(
    data: o.DataArgument,
    to: Annotated[Format, typer.Option(help="The format to write.")],
    out: Annotated[Path, typer.Option(callback=o.writable_folder, help="The folder to write; it must not exist.")],
    split: Annotated[list[str] | None, typer.Option(help="A part of the data; repeatable; all unless given.")] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What 'rcnn predict --json' wrote, in place of the truth, to be mended."),
    ] = None,
    score: Annotated[float, typer.Option(min=0, max=1, help="Least score of a prediction.")] = 0.5,
    pictures: Annotated[Pictures, typer.Option(help="What to do about the pictures; link makes hard links.")] = "copy",
    bad_boxes: o.BadBoxes = "fail",
    data_format: o.DataFormat = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what this command wrote there.")] = False,
) -> None:
    """Write a data set in another format, or predictions as labels.

    Reading it gives the same splits, names, boxes and flags; what the new format cannot hold is said.
    """
    refuse_missing_data(data)
    refuse(out, overwrite)
    from rcnn import api

    written = api.convert_data(
        data,
        to,
        out,
        splits=split or (),
        format=data_format,
        predictions=predictions,
        score=score,
        pictures=pictures,
        bad_boxes=bad_boxes,
        overwrite=overwrite,
    )
    show(written)


def show(written: Written) -> None:
    """What was written, and what could not be."""
    splits = ", ".join(f"{name} {count:,}" for name, count in written.splits.items())
    objects = f"{counted(written.objects, 'object')} of {counted(len(written.class_names), 'class', 'classes')}"
    print(f"{written.out}: {written.format.upper()}, {counted(written.pictures, 'picture')} ({splits}), {objects}")
    for note in written.notes:
        print(f"note: {note}")
