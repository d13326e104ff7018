"""`rcnn report`."""

from pathlib import Path
from typing import Annotated

import typer

from rcnn.cli import options as o
from rcnn.errors import ConfigError
from rcnn.paths import refuse_missing_data
from rcnn.presets.sources import data_of, refuse_missing_rival
from rcnn.runs import RunFolder, read_metadata

OptionalData = Annotated[
    Path | None, typer.Argument(metavar="[DATA]", help="The data to measure on; that of training unless given.")
]
ReportFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", callback=o.writable, help="The page; report.html in the run unless given."),
]


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
    refuse_missing_data(place)
    refuse_missing_rival(against)
    from rcnn.api.detecting import Detecting
    from rcnn.cli.report import write

    how = Detecting("best", device, precision, False, batch, proposals, None, o.cores())
    reading = data_format or (None if data else metadata.get("reading", {}).get("format"))
    page, chosen = write(run, metadata, place, split, how, against, out, bad_boxes, reading)
    print(f"{page}: the report on split {chosen}; its figures are in {page.with_suffix('.json').name} beside it")
