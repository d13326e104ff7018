"""What `rcnn compress` does and shows."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from rcnn.api import Truncated
from rcnn.cli.tables import show_table
from rcnn.presets.sources import is_of_others
from rcnn.report.sweep import FULL, Cost, Sweep, SweepPoint, draw_sweep, knee
from rcnn.report.words import amount, counted
from rcnn.runs import write_text

_console = Console(highlight=False, markup=False, emoji=False)


def show(layers: list[Truncated]) -> None:
    """What became of each layer."""
    rows = []
    for layer in layers:
        size, counts = f"{layer.inputs} x {layer.outputs}", (amount(layer.before), amount(layer.after))
        shares = (f"{layer.after / layer.before:.1%}", f"{layer.energy:.2%}")
        rows.append((layer.name, size, str(layer.rank), *counts, *shares))
    show_table(_console, ("layer", "size", "rank", "parameters", "now", "kept", "energy kept"), rows)


def advise(found: Sweep, by: Cost, tolerance: float, out: Path, weights: Path | None = None) -> None:
    """Write `sweep.json` and `sweep.png`, and say which ranks to take."""
    chosen = knee(found.points, tolerance, by)
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


def tell(point: SweepPoint) -> None:
    """A line."""
    print(f"{point.svd or 'not truncated'}: AP {point.ap:.3f}, AP50 {point.ap50:.3f}", flush=True)
