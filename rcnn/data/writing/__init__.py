"""Writing a data set as VOC, COCO, YOLO or CSV, so that reading it gives the same again."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rcnn.choices import Format
from rcnn.data.files import PICTURE_SUFFIXES
from rcnn.data.picture import MAX_PIXELS
from rcnn.data.writing import coco, csv, voc, yolo
from rcnn.data.writing.folder import refuse, write_whole
from rcnn.data.writing.notes import notes
from rcnn.data.writing.pictures import Pictures, bring
from rcnn.data.writing.plan import SUFFIXES, Item, Plan, make_plan, objects_of
from rcnn.sample import DataSet

__all__ = ["WRITERS", "Pictures", "Written", "refuse", "write_data"]


class Writer(NamedTuple):
    """A format: where it has its pictures, and what writes the rest."""

    place: Callable[[Item], str]
    write: Callable[[Plan, Path], None]
    suffixes: Collection[str] = SUFFIXES
    """By which its readers know a picture."""


WRITERS: dict[Format, Writer] = {
    "coco": Writer(coco.place, coco.write),
    "voc": Writer(voc.place, voc.write),
    "yolo": Writer(yolo.place, yolo.write, PICTURE_SUFFIXES),
    "csv": Writer(csv.place, csv.write),
}


@dataclass(frozen=True)
class Written:
    """What was written, and where."""

    out: Path
    format: Format
    splits: dict[str, int]
    """Pictures by split."""
    pictures: int
    objects: int
    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    """A line on each thing that the format cannot hold."""


def write_data(
    dataset: DataSet,
    to: Format,
    out: Path | str,
    pictures: Pictures = "copy",
    overwrite: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Written:
    """Write a data set into the folder `out`, which stands there complete or not at all.

    Reading it gives the same splits, ids (the files' names), class names in their order, flags as far as the format has
    them, and boxes: as 32-bit floats exactly. Raises ConfigError where the folder exists, unless `overwrite` is given
    and it was written by this function; DataError where a picture cannot be read, or a class is not the data set's.
    """
    dataset, thin = voc.without_thin(dataset) if to == "voc" else (dataset, 0)
    writer = WRITERS[to]
    out, plan = Path(out), make_plan(dataset, max_pixels, writer.suffixes)

    def fill(folder: Path) -> None:
        writer.write(plan, folder)
        for item in plan.items:
            bring(item, folder / writer.place(item), pictures)

    counts = {split: len(items) for split, items in plan.splits.items()}
    about = {"format": to, "splits": counts, "classes": list(plan.class_names)}
    write_whole(out, overwrite, about, fill)
    left_out = (
        [f"left out, for VOC cannot hold them: {thin} of the objects, at most a pixel wide or high"] if thin else []
    )
    told = (*left_out, *notes(dataset, plan, to))
    return Written(out, to, counts, len(plan.items), objects_of(plan.items), plan.class_names, told)
