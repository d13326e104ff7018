"""`rcnn predict`."""

import glob
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from jaxtyping import Float, UInt8

from rcnn import api
from rcnn.api.regions import attached, with_regions
from rcnn.cli import options as o
from rcnn.data import read_pixels
from rcnn.data.shown import as_shown
from rcnn.errors import ConfigError, DataError, RcnnError
from rcnn.inference.draw import draw
from rcnn.inference.predictor import Detector
from rcnn.proposals.files import read_proposals
from rcnn.report.words import counted
from rcnn.runs import write_text
from rcnn.sample import DataSet, Sample
from rcnn.structures import Detections

Regions = Float[np.ndarray, "P 4"]
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm"}


def predict(
    run: o.RunArgument,
    pictures: Annotated[list[str], typer.Argument(help="Files, folders, or patterns such as 'photos/*.jpg'.")],
    out: Annotated[Path, typer.Option(help="Folder for the drawn pictures.")],
    score: o.LeastScore = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the detections here.")] = None,
    batch: o.Together = 1,
    proposals: o.ProposalsFile = None,
    max_proposals: o.MaxProposals = None,
    max_detections: Annotated[int | None, typer.Option(min=1, help="So many of a picture, the best.")] = None,
    weights: o.WhichWeights = "best",
    device: o.Device = "auto",
    precision: o.Precision = "fp32",
    compile: o.Compile = False,
) -> int:
    """Find the objects in pictures, and draw them.

    A picture that cannot be read is reported and skipped; the others are done, and the exit status is 1.
    """
    files = find_pictures(pictures)
    detector = api.load_named(run, weights, device, precision, max_proposals, compile)
    sources = with_proposals(files, detector, proposals)
    names = drawn_names(files)
    make_folder(out, [out / name for name in names.values()], files)
    rows: list[dict[str, Any]] = []
    bad = 0
    for number, (file, each) in enumerate(zip(files, detector.predict_each(sources, batch, score), strict=True), 1):
        if isinstance(each, DataError):
            bad += 1
            print(f"rcnn: skipped {each}", file=sys.stderr)
            continue
        found = each if max_detections is None else each.best(max_detections)
        draw(shown(file, detector), found).save(out / names[file], quality=92)
        rows += coco_rows(found, number, file, detector.category_ids)
        print(f"{file}: {summary(found)}")
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        write_text(json_file, json.dumps(rows, indent=1) + "\n")
    print(f"{len(files) - bad} of {counted(len(files), 'picture')} drawn in {out}")
    return 1 if bad else 0


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


def make_folder(out: Path, drawn: Sequence[Path], pictures: Sequence[Path]) -> None:
    """The folder for drawn pictures; raises ConfigError where it is a file, or where they would replace pictures."""
    if any(place.exists() and not place.is_dir() for place in (out, *out.parents)):
        raise ConfigError(f"{out}: a file, or inside of one; give --out the name of a folder")
    originals = {picture.resolve() for picture in pictures}
    if lost := next((file for file in drawn if file.resolve() in originals), None):
        raise ConfigError(f"{lost}: one of the pictures, which would be replaced; give --out another folder")
    out.mkdir(parents=True, exist_ok=True)


def find_pictures(patterns: Sequence[str]) -> list[Path]:
    """The files that arguments name, each once; raises RcnnError for an argument that names none."""
    files: dict[Path, None] = {}
    for pattern in patterns:
        found = list(_matching(pattern))
        if not found:
            raise RcnnError(f"{pattern}: no picture there; give files, folders, or patterns such as 'photos/*.jpg'")
        files |= dict.fromkeys(found)
    return list(files)


def _matching(pattern: str) -> Iterator[Path]:
    path = Path(pattern)
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    elif path.exists():
        yield path
    else:
        yield from (Path(name) for name in sorted(glob.glob(pattern, recursive=True)) if Path(name).is_file())


def drawn_names(files: Sequence[Path]) -> dict[Path, str]:
    """A name for each drawn picture: the file's own, with a number behind it where two files share one."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for file in files:
        name, number = f"{file.stem}.jpg", 1
        while name in taken:
            number += 1
            name = f"{file.stem}-{number}.jpg"
        taken.add(name)
        names[file] = name
    return names


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
