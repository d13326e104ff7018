"""`rcnn propose`."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rcnn.api import load_named, read_data
from rcnn.api import proposals as api
from rcnn.cli import options as o
from rcnn.errors import ConfigError
from rcnn.evaluation.recall import SHOWN_NUMBERS, SHOWN_THRESHOLDS, ProposalRecall
from rcnn.proposals.cache import cache_folder
from rcnn.proposals.files import ProposalTable, read_proposals, write_proposals
from rcnn.proposals.selective_search import Mode, opencv
from rcnn.runs import write_text
from rcnn.sample import DataSet, Sample

Method = Literal["selective-search", "rpn"]
Make = Callable[[Sequence[Sample], int, Callable[[], object]], ProposalTable]
"""From samples, how many proposals a picture, and what to call after each, to the proposals."""

Replace = Annotated[bool, typer.Option("--overwrite", help="Replace FILE, and the numbers beside a plot.")]
LINES = 10  # of progress, where there is no terminal

_console = Console(highlight=False, markup=False, emoji=False)  # file names may hold brackets and colons


def propose(
    data: o.DataArgument,
    out: Annotated[Path, typer.Option(metavar="FILE", help="For the proposals; with --recall for the plot.")],
    method: Annotated[Method | None, typer.Option(help="selective-search unless --run is given.")] = None,
    mode: Annotated[Mode, typer.Option(help="Of selective search: R-CNN's, or slower with more proposals.")] = "fast",
    run: Annotated[str | None, typer.Option(metavar="RUN", help="The Faster R-CNN whose RPN proposes.")] = None,
    recall: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Make none: plot how many objects those of FILE cover; repeatable."),
    ] = None,
    split: o.ProposeSplit = None,
    maximum: Annotated[int, typer.Option(min=1, help="Proposals a picture.")] = 2000,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that search; one a core unless given.")] = None,
    weights: o.WhichWeights = "best",
    device: o.Device = "auto",
    bad_boxes: o.BadBoxes = "drop",
    data_format: o.DataFormat = None,
    overwrite: Replace = False,
) -> int:
    """Make proposals for a data set, or plot how many of its objects given proposals cover.

    Selective search keeps each picture's in $RCNN_CACHE: after an interruption the same command goes on.
    """
    check_method(method, run, recall)
    check_out(out, recall or [], overwrite)
    if recall:
        dataset = read_data(data, bad_boxes, data_format)
        return measure(dataset, api.samples_to_propose(dataset, split), recall, out)
    make = by_rpn(run, weights, device) if run else by_search(mode, o.cores() if workers is None else workers)
    samples = api.samples_to_propose(read_data(data, bad_boxes, data_format), split)
    advice = "the same command begins anew" if run else f"found ones are in {cache_folder()}; the same command goes on"
    with showing(len(samples), advice) as on_picture:
        table = make(samples, maximum, on_picture)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_proposals(out, table)
    mean = sum(map(len, table.boxes.values())) / max(1, len(samples))
    part = f" --split {split}" if split else ""
    print(f"{out}: {len(samples)} pictures, {mean:.0f} proposals each on average")
    print(f"how much they cover: rcnn propose {data}{part} --recall {out} --out {out.with_suffix('.png')}")
    return 0


def by_search(mode: Mode, workers: int) -> Make:
    """Selective search; a missing OpenCV is told here, before the data is read, which takes longer."""
    opencv()
    return lambda samples, maximum, on_picture: api.search_proposals(
        samples, mode, maximum, workers, cache_folder(), on_picture
    )


def by_rpn(run: str, weights: str, device: str) -> Make:
    """The RPN of a run."""
    detector = load_named(run, weights, device, "fp32")
    return lambda samples, maximum, on_picture: api.rpn_proposals(detector, samples, maximum, {"run": run}, on_picture)


def check_method(method: Method | None, run: str | None, recall: Sequence[Path] | None) -> None:
    """Raise ConfigError for options that do not go together."""
    if recall and (method or run):
        raise ConfigError("--recall measures files that exist; leave --method and --run out")
    if method == "rpn" and not run:
        raise ConfigError("--method rpn: needs the trained network; pass --run RUN")
    if method == "selective-search" and run:
        raise ConfigError("--method selective-search: uses no run; leave --run out, or pass --method rpn")


def check_out(out: Path, recall: Sequence[Path], overwrite: bool) -> None:
    """Raise ConfigError, before any work, where the result could not be written or would replace something."""
    if out.is_dir() or any(place.exists() and not place.is_dir() for place in out.parents):
        raise ConfigError(f"{out}: a folder, or inside of a file; give --out the name of a file")
    written = [out]
    if recall:
        from rcnn.report.recall import check_format

        check_format(out)
        written.append(numbers_file(out))
    elif out.suffix.lower() == ".json":
        raise ConfigError(
            f"{out}: proposals are written as safetensors; give --out a name such as {out.stem}.safetensors"
        )
    for file in written:
        if file.resolve() in {other.resolve() for other in recall}:
            raise ConfigError(f"{file}: would be written, and is to be measured; give another --out")
        if file.exists() and not overwrite:
            raise ConfigError(f"{file}: exists; pass --overwrite to replace it, or another --out")


@contextmanager
def showing(count: int, advice: str) -> Iterator[Callable[[], object]]:
    """Progress over `count` pictures: a bar on a terminal, a line now and then elsewhere; Ctrl-C says how it stands."""
    done, began = 0, time.perf_counter()
    bar = iter(track(range(count), "proposing", console=_console, disable=not _console.is_terminal))

    def on_picture() -> None:
        nonlocal done
        done += 1
        next(bar, None)
        if not _console.is_terminal and (done % max(1, count // LINES) == 0 or done == count):
            seconds = (time.perf_counter() - began) / done
            print(f"{done}/{count} pictures  {seconds:.2f} s a picture", flush=True)

    try:
        next(bar, None)
        yield on_picture
    except KeyboardInterrupt:
        print(f"rcnn: stopped after {done} of {count} pictures; {advice}", file=sys.stderr)
        raise
    finally:
        bar.close()  # type: ignore[attr-defined]


def measure(dataset: DataSet, samples: Sequence[Sample], files: Sequence[Path], out: Path) -> int:
    """Print the recall of proposals, plot it, and write the numbers beside the plot."""
    from rcnn.report.recall import draw_recall

    names = {file: file.stem if len({f.stem for f in files}) == len(files) else str(file) for file in files}
    measured = {name: api.recall_of(dataset, samples, read_proposals(file, dataset)) for file, name in names.items()}
    show(measured)
    out.parent.mkdir(parents=True, exist_ok=True)
    draw_recall(measured, out)
    numbers = {name: recall.to_json() for name, recall in measured.items()}
    write_text(numbers_file(out), json.dumps(numbers, indent=1) + "\n")
    print(f"plotted in {out}, all numbers in {numbers_file(out)}")
    return 0


def numbers_file(plot: Path) -> Path:
    """Where the numbers of a plot go."""
    return plot.with_suffix(".json")


def show(measured: dict[str, ProposalRecall]) -> None:
    """A small table: one row for each file and number of proposals."""
    first = next(iter(measured.values()))
    _console.print(f"{first.pictures} pictures, {first.objects} objects that count")
    columns = [f"recall at IoU {threshold:g}" for threshold in SHOWN_THRESHOLDS]
    table = Table("proposals", "at most", *columns, "average recall", box=None, pad_edge=False)
    for name, recall in measured.items():
        for number in SHOWN_NUMBERS:
            values = [*(recall.at(number, t) for t in SHOWN_THRESHOLDS), recall.average_at(number)]
            table.add_row(name, f"{number:,}", *("-" if v != v else f"{v:.3f}" for v in values))  # noqa: PLR0124
        table.add_row(f"({recall.mean_proposals:.0f} a picture)", style="dim")
    _console.print(table)
