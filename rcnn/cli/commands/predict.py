"""`rcnn predict`."""

from pathlib import Path
from typing import Annotated

import typer

from rcnn.choices import is_film
from rcnn.cli import options as o
from rcnn.cli.picture_files import find_pictures
from rcnn.errors import ConfigError
from rcnn.inference.ways import Looks, Tiles, Views
from rcnn.paths import refuse_missing_proposals
from rcnn.presets.sources import refuse_unreadable

Pictures = Annotated[
    list[str],
    typer.Argument(
        metavar="PICTURES...", help="Files, folders, patterns such as 'photos/*.jpg'; films; camera:0 for a camera."
    ),
]
Classes = Annotated[list[str] | None, typer.Option("--class", help="Only objects of this class; repeatable.")]
Tile = Annotated[int | None, typer.Option(min=32, help="Look at squares of so many pixels: for small objects.")]
Overlap = Annotated[float, typer.Option(min=0, max=0.9, help="Part of a square that its neighbour shares.")]
Flip = Annotated[bool, typer.Option("--flip", help="Look at the mirror image too.")]
Sizes = Annotated[str | None, typer.Option(metavar="N,...", help="Short sides to look at, one after another.")]


def predict(
    run: o.RunArgument,
    pictures: Pictures,
    out: Annotated[Path | None, typer.Option(callback=o.writable_folder, help="Folder for the drawn pictures.")] = None,
    score: o.LeastScore = None,
    json_file: o.NumbersFile = None,
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
    becomes a drawn one, with a line of JSON a frame beside it. Without --out nothing is drawn: give --json.
    """
    looks = chosen_looks(tile, overlap, flip, sizes, proposals)
    if out is None and json_file is None:
        raise ConfigError("--out: missing; give --out FOLDER for drawn pictures, --json FILE for the numbers, or both")
    films, files = [name for name in pictures if is_film(name)], find_pictures([n for n in pictures if not is_film(n)])
    if films and out is None:
        raise ConfigError(f"{films[0]}: a film, which is drawn; give --out FOLDER")
    refuse_unreadable(run, weights)
    if proposals:
        refuse_missing_proposals(proposals)
    from rcnn.api import load_named
    from rcnn.cli.predict import predict_all

    detector = load_named(run, weights, device, precision, max_proposals, compile)
    return predict_all(detector, files, films, out, looks, batch, score, proposals, classes, max_detections, json_file)


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
