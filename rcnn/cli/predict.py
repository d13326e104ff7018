"""What `rcnn predict` does."""

import difflib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from rcnn.api.regions import attached, with_regions
from rcnn.cli.films import predict_film
from rcnn.cli.picture_files import drawn_names, make_folder
from rcnn.data import read_pixels
from rcnn.data.shown import as_shown
from rcnn.errors import ConfigError, DataError
from rcnn.inference.draw import draw
from rcnn.inference.looks import find_each
from rcnn.inference.predictor import Detector
from rcnn.inference.ways import Looks
from rcnn.proposals.files import read_proposals
from rcnn.report.words import counted
from rcnn.runs import write_text
from rcnn.sample import DataSet, Sample
from rcnn.structures import Detections

Regions = Float[np.ndarray, "P 4"]


def predict_all(
    detector: Detector,
    files: Sequence[Path],
    films: Sequence[str],
    out: Path | None,
    looks: Looks,
    batch: int,
    score: float | None,
    proposals: Path | None,
    classes: Sequence[str] | None,
    most: int | None,
    json_file: Path | None,
) -> int:
    """Find and, in a folder `out`, draw, films first; the exit status."""
    names, choose = drawn_names(files), chooser(detector.class_names, classes or (), most)
    sources = with_proposals(files, detector, proposals)
    if out:
        make_folder(out, [out / name for name in names.values()], files)
        for name in films:
            predict_film(name, out, detector, looks, batch, score, choose)
    found = find_each(detector, sources, looks, batch, score)
    rows, bad = draw_each(zip(files, found, strict=True), out, names, detector, choose)
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        write_text(json_file, json.dumps(rows, indent=1) + "\n")
    return 1 if bad else 0


def draw_each(
    found: Iterable[tuple[Path, Detections | DataError]],
    out: Path | None,
    names: Mapping[Path, str],
    detector: Detector,
    choose: Callable[[Detections], Detections],
) -> tuple[list[dict[str, Any]], int]:
    """Draw pictures into a folder, if any; the rows of all that was found, and how many could not be read."""
    rows: list[dict[str, Any]] = []
    bad = 0
    for number, (file, each) in enumerate(found, 1):
        if isinstance(each, DataError):
            bad += 1
            print(f"rcnn: skipped {each}", file=sys.stderr)
            continue
        chosen = choose(each)
        if out:
            draw(shown(file, detector), chosen).save(out / names[file], quality=92)
        rows += coco_rows(chosen, number, file, detector.category_ids)
        print(f"{file}: {summary(chosen)}")
    if names and out:
        print(f"{len(names) - bad} of {counted(len(names), 'picture')} drawn in {out}")
    return rows, bad


def chooser(known: Sequence[str], classes: Sequence[str], most: int | None) -> Callable[[Detections], Detections]:
    """What is kept of a picture's detections; raises ConfigError for a class that the model does not know."""
    for name in classes:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {close[0]}?" if close else f"it knows {', '.join(known)}"
            raise ConfigError(f"--class {name}: the model knows no such class; {meant}")

    def choose(found: Detections) -> Detections:
        kept = found.of(classes) if classes else found
        return kept if most is None else kept.best(most)

    return choose


def shown(file: Path, detector: Detector) -> UInt8[np.ndarray, "H W 3"]:
    """A picture as it can be drawn on."""
    preprocess = detector.preprocess
    return as_shown(read_pixels(file, preprocess.channels, detector.max_pixels), preprocess.limits)


def with_proposals(files: Sequence[Path], detector: Detector, file: Path | None) -> list[Sample]:
    """The pictures as samples, with the regions of a file of proposals for a method that needs some.

    Raises DataError for a picture of which the file knows nothing.
    """
    samples = [Sample(str(picture), picture) for picture in files]
    dataset = DataSet({"pictures": samples}, ())
    if file is None or detector.proposer is None:
        return with_regions(samples, dataset, None, file)
    table = read_proposals(file, dataset)
    return attached(samples, replace(table, boxes=by_picture(table.boxes, files)))


def by_picture(regions: Mapping[str, Regions], files: Sequence[Path]) -> dict[str, Regions]:
    """Regions by the path of their picture, known by its path, its file's name, or that without suffix.

    A name that several of the pictures have tells nothing.
    """
    found: dict[str, Regions] = {}
    for name_of in (str, lambda file: file.name, lambda file: file.stem):
        names = [name_of(file) for file in files]
        count = Counter(names)
        for file, name in zip(files, names, strict=True):
            if name in regions and count[name] == 1:
                found.setdefault(str(file), regions[name])
    return found


def coco_rows(found: Detections, number: int, file: Path, category_ids: Mapping[str, int]) -> list[dict[str, Any]]:
    """Detections as COCO results, with file and class names beside the numbers.

    A category has the number that the COCO file of the training data gave it, or else its label.
    """
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), found.names, strict=True)
    return [
        {
            "image_id": number,
            "file_name": str(file),
            "category_id": category_ids.get(name, label),
            "category_name": name,
            "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(score, 5),
        }
        for (x1, y1, x2, y2), score, label, name in rows
    ]


def summary(found: Detections) -> str:
    """How many of what."""
    names = found.names
    return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names)) or "nothing found"
