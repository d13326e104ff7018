"""`rcnn predict`."""

import difflib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from jaxtyping import Float, UInt8

from rcnn import api
from rcnn.api.regions import attached, with_regions
from rcnn.cli import options as o
from rcnn.cli.films import predict_film
from rcnn.cli.picture_files import drawn_names, find_pictures, make_folder
from rcnn.data import read_pixels
from rcnn.data.shown import as_shown
from rcnn.errors import ConfigError, DataError
from rcnn.inference.draw import draw
from rcnn.inference.looks import Looks, find_each
from rcnn.inference.predictor import Detector
from rcnn.inference.tiling import Tiles
from rcnn.inference.video import is_film
from rcnn.inference.views import Views
from rcnn.proposals.files import read_proposals
from rcnn.report.words import counted
from rcnn.runs import write_text
from rcnn.sample import DataSet, Sample
from rcnn.structures import Detections

Regions = Float[np.ndarray, "P 4"]


Pictures = Annotated[
    list[str], typer.Argument(help="Files, folders, patterns such as 'photos/*.jpg'; films; camera:0 for a camera.")
]
Classes = Annotated[list[str] | None, typer.Option("--class", help="Only objects of this class; repeatable.")]
Tile = Annotated[int | None, typer.Option(min=32, help="Look at squares of so many pixels: for small objects.")]
Overlap = Annotated[float, typer.Option(min=0, max=0.9, help="Part of a square that its neighbour shares.")]
Flip = Annotated[bool, typer.Option("--flip", help="Look at the mirror image too.")]
Sizes = Annotated[str | None, typer.Option(metavar="N,...", help="Short sides to look at, one after another.")]


def predict(
    run: o.RunArgument,
    pictures: Pictures,
    out: Annotated[Path, typer.Option(help="Folder for the drawn pictures.")],
    score: o.LeastScore = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the detections here.")] = None,
    batch: o.Together = 1,
    proposals: o.ProposalsFile = None,
    max_proposals: o.MaxProposals = None,
    max_detections: Annotated[int | None, typer.Option(min=1, help="So many of a picture, the best.")] = None,
    classes: Classes = None,
    tile: Tile = None,
    overlap: Overlap = 0.2,
    flip: Flip = False,
    sizes: Sizes = None,
    weights: o.WhichWeights = "best",
    device: o.Device = "auto",
    precision: o.Precision = "fp32",
    compile: o.Compile = False,
) -> int:
    """Find the objects in pictures and films, and draw them.

    A picture that cannot be read is reported and skipped; the others are done, and the exit status is 1. A film
    becomes a drawn one, with a line of JSON a frame beside it.
    """
    looks = chosen_looks(tile, overlap, flip, sizes, proposals)
    films, files = [name for name in pictures if is_film(name)], find_pictures([n for n in pictures if not is_film(n)])
    detector = api.load_named(run, weights, device, precision, max_proposals, compile)
    names, choose = drawn_names(files), chooser(detector.class_names, classes or (), max_detections)
    sources = with_proposals(files, detector, proposals)
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
    out: Path,
    names: Mapping[Path, str],
    detector: Detector,
    choose: Callable[[Detections], Detections],
) -> tuple[list[dict[str, Any]], int]:
    """Draw pictures into a folder; the rows of all that was found, and how many pictures could not be read."""
    rows: list[dict[str, Any]] = []
    bad = 0
    for number, (file, each) in enumerate(found, 1):
        if isinstance(each, DataError):
            bad += 1
            print(f"rcnn: skipped {each}", file=sys.stderr)
            continue
        chosen = choose(each)
        draw(shown(file, detector), chosen).save(out / names[file], quality=92)
        rows += coco_rows(chosen, number, file, detector.category_ids)
        print(f"{file}: {summary(chosen)}")
    if names:
        print(f"{len(names) - bad} of {counted(len(names), 'picture')} drawn in {out}")
    return rows, bad


def chosen_looks(tile: int | None, overlap: float, flip: bool, sizes: str | None, proposals: Path | None) -> Looks:
    """How pictures are looked at; raises ConfigError for what does not go together."""
    try:
        shorts = tuple(int(word) for word in sizes.split(",")) if sizes else ()
    except ValueError as error:
        raise ConfigError(f"--sizes {sizes}: give short sides in pixels, as 400,600") from error
    if any(short < 32 for short in shorts):
        raise ConfigError(f"--sizes {sizes}: give at least 32 pixels")
    views = Views(shorts, flip) if shorts or flip else None
    if proposals and (tile or views):
        raise ConfigError(
            "--proposals: are those of whole pictures, looked at once; leave --tile, --flip and --sizes out"
        )
    return Looks(Tiles(tile, overlap) if tile else None, views)


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
