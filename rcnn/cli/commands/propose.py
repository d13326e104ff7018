"""`rcnn propose`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from rcnn.cli import options as o
from rcnn.errors import ConfigError
from rcnn.paths import refuse_missing_data, refuse_missing_proposals
from rcnn.presets.sources import refuse_unreadable
from rcnn.proposals.selective_search import Mode, opencv
from rcnn.report.formats import check_format

Method = Literal["selective-search", "rpn"]
Replace = Annotated[bool, typer.Option("--overwrite", help="Replace FILE, and the numbers beside a plot.")]
File = Annotated[
    Path, typer.Option(metavar="FILE", callback=o.writable, help="For the proposals; with --recall for the plot.")
]


def propose(
    data: o.DataArgument,
    out: File,
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
    check_sources(data, run, weights, recall or [])
    from rcnn.api import read_data
    from rcnn.api.proposals import samples_to_propose
    from rcnn.cli.propose import by_rpn, by_search, make_all, measure

    if recall:
        dataset = read_data(data, bad_boxes, data_format)
        return measure(dataset, samples_to_propose(dataset, split), recall, out, numbers_file(out))
    make = by_rpn(run, weights, device) if run else by_search(mode, o.cores() if workers is None else workers)
    samples = samples_to_propose(read_data(data, bad_boxes, data_format), split)
    make_all(make, samples, maximum, out)
    part = f" --split {split}" if split else ""
    print(f"how much they cover: rcnn propose {data}{part} --recall {out} --out {out.with_suffix('.png')}")
    return 0


def check_sources(data: Path, run: str | None, weights: str, recall: Sequence[Path]) -> None:
    """Raise an error for what is needed and not there."""
    if run:
        refuse_unreadable(run, weights)
    elif not recall:
        opencv()
    for file in recall:
        refuse_missing_proposals(file)
    refuse_missing_data(data)


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


def numbers_file(plot: Path) -> Path:
    """Where the numbers of a plot go."""
    return plot.with_suffix(".json")
