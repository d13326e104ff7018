"""`rcnn compress`."""

from pathlib import Path
from typing import Annotated

import typer

from rcnn.cli import options as o
from rcnn.errors import ConfigError
from rcnn.paths import refuse_missing_data
from rcnn.presets.sources import refuse_no_folder, refuse_unreadable
from rcnn.report.sweep import Cost
from rcnn.runs.smaller import POINTS, refuse_folder

Regions = Annotated[
    Path | None, typer.Option(help="With --sweep: regions, for methods that need them; else searched for.")
]
Folder = Annotated[
    Path, typer.Option(callback=o.writable_folder, help="Folder for the smaller run, or for what the sweep finds.")
]


def compress(
    run: o.RunArgument,
    out: Folder,
    svd: Annotated[
        str | None, typer.Option(metavar="LAYER=RANK,...", help="Truncate these layers: fc6=1024,fc7=256.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--sweep", metavar="DATA", help="Measure many ranks on this data, and advise.")
    ] = None,
    split: Annotated[str, typer.Option(help="With --sweep: the part of the data to measure on.")] = "val",
    points: Annotated[int, typer.Option(min=1, help="With --sweep: ranks of each layer to try.")] = 5,
    tolerance: Annotated[float, typer.Option(min=0, help="With --sweep: points of AP50 that may be lost.")] = 0.5,
    by: Annotated[Cost, typer.Option(help="With --sweep: what the knee has the fewest of.")] = "milliseconds",
    repeats: Annotated[int, typer.Option(min=1, help="With --sweep: measurements of each time.")] = 10,
    proposals: Regions = None,
    weights: o.OthersWeights = None,
    batch: o.Together = 4,
    device: o.Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="With --sweep: go on with an interrupted one.")] = False,
    overwrite: o.Overwrite = False,
) -> None:
    """Make a run, or another library's model, smaller by truncated SVD of its fully connected layers.

    With --svd the result is a run like any other. With --sweep it is AP and milliseconds over ranks, drawn.
    """
    if svd is not None and resume:
        raise ConfigError("--resume: goes on with a sweep, and --svd needs none; leave it out")
    if svd is not None and data is None:
        truncate(run, svd, out, overwrite, weights)
    elif svd is None and data is not None:
        keep = points_file(out, resume, overwrite, Path(run))
        refuse_missing(run, data)
        from rcnn.api.sweeping import sweep
        from rcnn.cli.compress import advise, tell

        how = (points, tolerance, repeats, batch, device, proposals, tell, keep, resume, weights)
        advise(sweep(run, data, split, *how), by, tolerance, out, weights)
        keep.unlink(missing_ok=True)
    else:
        raise ConfigError("--svd and --sweep: give one of them, like --svd fc6=1024,fc7=256 or --sweep DATA")


def truncate(run: str, svd: str, out: Path, overwrite: bool, weights: Path | None) -> None:
    """Make a smaller run, and show it."""
    ranks = parse_ranks(svd)
    refuse_folder(out, overwrite, Path(run))
    refuse_missing(run)
    from rcnn.api import compress
    from rcnn.cli.compress import show

    show(compress(run, ranks, out, overwrite, weights))
    print(f"done: {out} holds the run; next: rcnn evaluate {out} DATA --split test")


def refuse_missing(run: str, data: Path | None = None) -> None:
    """Raise an error where the run, or the data that a sweep measures on, is not there."""
    refuse_no_folder(run)
    refuse_unreadable(run)
    if data is not None:
        refuse_missing_data(data)


def points_file(out: Path, resume: bool, overwrite: bool, run: Path) -> Path:
    """Where a sweep keeps its points until it ends; without `resume` it begins anew."""
    keep = out / POINTS
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite: give one of them")
    if resume and not keep.is_file():
        raise ConfigError(f"{out}: holds no sweep that was interrupted; leave --resume out")
    refuse_folder(out, overwrite or resume, run)
    return keep


def parse_ranks(text: str) -> dict[str, int]:
    """`fc6=1024,fc7=256` as a mapping; raises ConfigError for anything else."""
    ranks: dict[str, int] = {}
    for word in text.split(","):
        name, _, rank = (part.strip() for part in word.partition("="))
        if name and rank.startswith("-"):
            raise ConfigError(f"--svd {text}: rank {rank} of {name}; give 1 or more")
        if not name or not rank.isdecimal():
            raise ConfigError(f"--svd {text}: {word.strip()!r} is not LAYER=RANK; give for example fc6=1024,fc7=256")
        if name in ranks:
            raise ConfigError(f"--svd {text}: {name} is given twice; give one rank")
        ranks[name] = int(rank)
    return ranks
