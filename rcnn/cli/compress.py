"""`rcnn compress`."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rcnn.api.compressing import POINTS, Truncated, refuse_folder
from rcnn.api.compressing import compress as compress_run
from rcnn.api.loading import is_of_others
from rcnn.api.sweeping import sweep as sweep_run
from rcnn.cli import options as o
from rcnn.cli.tables import show_table
from rcnn.errors import ConfigError
from rcnn.report.sweep import FULL, Cost, Sweep, SweepPoint, draw_sweep, knee
from rcnn.report.words import amount, counted
from rcnn.runs import write_text

_console = Console(highlight=False, markup=False, emoji=False)


def compress(
    run: o.RunArgument,
    out: Annotated[Path, typer.Option(help="Folder for the smaller run, or for what the sweep finds.")],
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
    proposals: Annotated[
        Path | None, typer.Option(help="With --sweep: regions, for methods that need them; else searched for.")
    ] = None,
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
        show(compress_run(run, parse_ranks(svd), out, overwrite, weights))
        print(f"done: {out} holds the run; next: rcnn evaluate {out} DATA --split test")
    elif svd is None and data is not None:
        keep = points_file(out, resume, overwrite, Path(run))
        how = (points, tolerance, repeats, batch, device, proposals, _tell, keep, resume, weights)
        found = sweep_run(run, data, split, *how)
        advise(found, knee(found.points, tolerance, by), tolerance, out, weights)
        keep.unlink(missing_ok=True)
    else:
        raise ConfigError("--svd and --sweep: give one of them, like --svd fc6=1024,fc7=256 or --sweep DATA")


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


def show(layers: list[Truncated]) -> None:
    """What became of each layer."""
    rows = []
    for layer in layers:
        size, counts = f"{layer.inputs} x {layer.outputs}", (amount(layer.before), amount(layer.after))
        shares = (f"{layer.after / layer.before:.1%}", f"{layer.energy:.2%}")
        rows.append((layer.name, size, str(layer.rank), *counts, *shares))
    show_table(_console, ("layer", "size", "rank", "parameters", "now", "kept", "energy kept"), rows)


def advise(found: Sweep, chosen: SweepPoint, tolerance: float, out: Path, weights: Path | None = None) -> None:
    """Write `sweep.json` and `sweep.png`, and say which ranks to take."""
    show_sweep(found.points, chosen)
    print(f"times: least of {found.repeats}, {counted(found.regions, 'region')}, {found.machine}")
    command = command_for(found.run, chosen, weights)
    advice = {"tolerance": tolerance, "knee": chosen.to_json(), "command": None if chosen.path == FULL else command}
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "sweep.json", json.dumps(found.to_json() | advice, indent=2) + "\n")
    draw_sweep(found, chosen, tolerance, out / "sweep.png")
    print(f"{out / 'sweep.json'} holds the points, {out / 'sweep.png'} their drawing")
    if chosen.path == FULL:
        print(f"no ranks that were tried cost less and lose at most {tolerance:g} points of AP50")
    else:
        print(f"the knee: {command}")


def command_for(run: str, chosen: SweepPoint, weights: Path | None) -> str:
    """What makes the run of a point; of another library's model into a folder of its own name."""
    out = run.rpartition("/")[2].rpartition(":")[2] if is_of_others(run) else run
    given = ["--weights", str(weights)] if weights else []
    return shlex.join(["rcnn", "compress", run, *given, "--svd", chosen.svd, "--out", f"{out}-svd"])


def show_sweep(points: Sequence[SweepPoint], chosen: SweepPoint) -> None:
    """All points, and which is the knee."""
    rows = []
    for point in points:
        aps = (f"{point.ap:.3f}", f"{point.ap50:.3f}")
        times = (f"{point.layers_ms:.2f}", f"{point.picture_ms:.1f}")
        mark = "knee" if point is chosen else ""
        rows.append((point.svd or "none", amount(point.parameters), *aps, *times, point.path, mark))
    show_table(_console, ("ranks", "parameters", "AP", "AP50", "ms layers", "ms picture", "truncated", ""), rows)


def _tell(point: SweepPoint) -> None:
    print(f"{point.svd or 'not truncated'}: AP {point.ap:.3f}, AP50 {point.ap50:.3f}", flush=True)
