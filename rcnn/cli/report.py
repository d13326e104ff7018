"""What `rcnn report` does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rcnn import api
from rcnn.api.data import with_splits_of
from rcnn.api.detecting import Detecting
from rcnn.api.reporting import report, split_to_report
from rcnn.cli.counting import counting
from rcnn.cli.numbers import console
from rcnn.config import Config
from rcnn.data import Format, Policy, samples_of
from rcnn.runs import RunFolder


def write(
    run: Path,
    metadata: Mapping[str, Any],
    place: Path,
    split: str | None,
    how: Detecting,
    against: str | None,
    out: Path | None,
    bad_boxes: Policy,
    data_format: Format | None,
) -> tuple[Path, str]:
    """Read the data as the run saw it, detect, and write the page; its file, and the split that it is on."""
    seen = Config.model_validate(metadata["config"]).input
    dataset = with_splits_of(
        RunFolder(run), api.read_data(place, bad_boxes, data_format, seen.max_pixels, seen.channels)
    )
    chosen = split_to_report(dataset, split)
    with counting(len(samples_of(dataset, chosen)), "detecting", console) as on_picture:
        return report(run, dataset, place.resolve().name, chosen, how, against, out, on_picture), chosen
