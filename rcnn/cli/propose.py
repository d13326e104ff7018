"""What `rcnn propose` does and shows."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from rcnn.api import load_named
from rcnn.api import proposals as api
from rcnn.evaluation.recall import SHOWN_NUMBERS, SHOWN_THRESHOLDS, ProposalRecall
from rcnn.proposals.cache import cache_folder
from rcnn.proposals.files import ProposalTable, read_proposals, write_proposals
from rcnn.proposals.selective_search import Mode
from rcnn.runs import write_text
from rcnn.sample import DataSet, Sample

LINES = 10  # of progress, where there is no terminal

_console = Console(highlight=False, markup=False, emoji=False)  # file names may hold brackets and colons


@dataclass(frozen=True)
class Make:
    """What makes proposals, and what to tell one who stops it."""

    run: Callable[[Sequence[Sample], int, Callable[[], object]], ProposalTable]
    """From samples, how many proposals a picture, and what to call after each."""
    advice: str


def by_search(mode: Mode, workers: int) -> Make:
    """Selective search."""
    return Make(
        lambda samples, maximum, on_picture: api.search_proposals(
            samples, mode, maximum, workers, cache_folder(), on_picture
        ),
        f"found ones are in {cache_folder()}; the same command goes on",
    )


def by_rpn(run: str, weights: str, device: str) -> Make:
    """The RPN of a run."""
    detector = load_named(run, weights, device, "fp32")
    return Make(
        lambda samples, maximum, on_picture: api.rpn_proposals(detector, samples, maximum, {"run": run}, on_picture),
        "the same command begins anew",
    )


def make_all(make: Make, samples: Sequence[Sample], maximum: int, out: Path) -> None:
    """The proposals of all samples, in a file."""
    with showing(len(samples), make.advice) as on_picture:
        table = make.run(samples, maximum, on_picture)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_proposals(out, table)
    mean = sum(map(len, table.boxes.values())) / max(1, len(samples))
    print(f"{out}: {len(samples)} pictures, {mean:.0f} proposals each on average")


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


def measure(dataset: DataSet, samples: Sequence[Sample], files: Sequence[Path], out: Path, numbers_file: Path) -> int:
    """Print the recall of proposals, plot it, and write all numbers into a file of theirs."""
    names = {file: file.stem if len({f.stem for f in files}) == len(files) else str(file) for file in files}
    measured = {name: api.recall_of(dataset, samples, read_proposals(file, dataset)) for file, name in names.items()}
    show(measured)
    out.parent.mkdir(parents=True, exist_ok=True)
    from rcnn.report.recall import draw_recall  # matplotlib takes a second

    draw_recall(measured, out)
    numbers = {name: recall.to_json() for name, recall in measured.items()}
    write_text(numbers_file, json.dumps(numbers, indent=1) + "\n")
    print(f"plotted in {out}, all numbers in {numbers_file}")
    return 0


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
