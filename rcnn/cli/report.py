"""`rcnn report`."""

from pathlib import Path
from typing import Annotated

import typer

from rcnn import api
from rcnn.api.data import with_splits_of
from rcnn.api.detecting import Detecting
from rcnn.api.reporting import data_of, split_to_report
from rcnn.api.reporting import report as write
from rcnn.cli import options as o
from rcnn.cli.counting import counting
from rcnn.cli.numbers import console
from rcnn.config import Config
from rcnn.data import samples_of
from rcnn.errors import ConfigError
from rcnn.runs import RunFolder, read_metadata

OptionalData = Annotated[
    Path | None, typer.Argument(metavar="[DATA]", help="The data to measure on; that of training unless given.")
]
ReportFile = Annotated[Path | None, typer.Option(metavar="FILE", help="The page; report.html in the run unless given.")]


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    data: OptionalData = None,
    split: Annotated[str | None, typer.Option(help="test unless given, or val where there is no test.")] = None,
    against: o.Against = None,
    out: ReportFile = None,
    batch: o.Together = 1,
    device: o.Device = "auto",
    precision: o.Precision = "fp32",
    proposals: o.ProposalsFile = None,
    bad_boxes: o.BadBoxes = "drop",
    data_format: o.DataFormat = None,
) -> None:
    """Write a run's page: how good it is and how sure that is, what costs most, and what to do next.

    The same figures stand beside it as JSON.
    """
    metadata = read_metadata(RunFolder(run).best)
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out {out}: the page is HTML; give a name that ends in .html")
    place = data or data_of(run)
    seen = Config.model_validate(metadata["config"]).input
    if data is None:
        data_format = data_format or metadata.get("reading", {}).get("format")
    dataset = with_splits_of(
        RunFolder(run), api.read_data(place, bad_boxes, data_format, seen.max_pixels, seen.channels)
    )
    chosen = split_to_report(dataset, split)
    how = Detecting("best", device, precision, False, batch, proposals, None, o.cores())
    with counting(len(samples_of(dataset, chosen)), "detecting", console) as on_picture:
        page = write(run, dataset, place.resolve().name, chosen, how, against, out, on_picture)
    print(f"{page}: the report on split {chosen}; its figures are in {page.with_suffix('.json').name} beside it")
