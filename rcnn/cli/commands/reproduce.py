"""`rcnn reproduce`."""

from pathlib import Path
from typing import Annotated

import typer

from rcnn.cli import options as o
from rcnn.errors import ConfigError
from rcnn.paths import refuse_missing_data, refuse_missing_proposals
from rcnn.presets.overrides import OPTIONS, override
from rcnn.presets.rows import ROWS, row, row_config
from rcnn.report.words import or_dash
from rcnn.runs import RunFolder


def reproduce(
    name: Annotated[
        str | None, typer.Argument(metavar="[ROW]", help="A row of a paper's table; without one they are listed.")
    ] = None,
    voc: Annotated[
        Path | None, typer.Option(metavar="DEVKIT", help="The folder that VOC2007 (and VOC2012) lie in.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(callback=o.writable_folder, help="The run's folder; runs/ROW unless given.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="A file, or none; else torchvision's ImageNet weights.")] = None,
    proposals: o.ProposalsFile = None,
    device: o.Device = "auto",
    workers: o.Workers = None,
    resume: o.Resume = False,
    overwrite: o.Overwrite = False,
    sets: o.Sets = None,
) -> int | None:
    """Train and measure a row of a paper's table on your VOC, and print our number beside the published one.

    With all of the paper's iterations: days without a GPU. What --set changes is noted in reproduce.json.
    """
    if name is None:
        return print(rows_list())
    chosen = row(name)
    if voc is None:
        raise ConfigError(f"{name}: needs your VOC; pass --voc DEVKIT, the folder that VOC2007 lies in")
    config = override(row_config(chosen), None, sets or (), {"training.workers": workers}, OPTIONS)
    out = out or Path("runs") / name
    RunFolder(out).stored(resume, overwrite)
    refuse_missing_data(voc)
    if proposals:
        refuse_missing_proposals(proposals)
    from rcnn.cli.reproduce import run

    begin = {"weights": weights, "resume": resume, "overwrite": overwrite}
    regions = {"proposals": proposals, "search_workers": o.cores(), "device": device}
    return run(name, voc, config, out, sets or (), begin, regions)


def rows_list() -> str:
    """All rows, and what was published for them."""
    lines = [f"{'row':<34}{'':<29}{'years':<7}{'mAP':>5}{'s a picture':>13}{'training h':>12}"]
    for name, each in ROWS.items():
        years = "+".join(f"{part.year % 100:02}" for part in each.train)
        numbers = f"{or_dash(each.map, '.1f'):>5}{or_dash(each.seconds):>13}{or_dash(each.hours):>12}"
        lines.append(f"{name:<34}{each.title:<29}{years:<7}{numbers}")
    return "\n".join(lines)
