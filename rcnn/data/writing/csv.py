"""Writing CSV: a table per split, and a list of classes."""

import csv
from collections.abc import Iterator
from pathlib import Path

from rcnn.data.files import CLASSES
from rcnn.data.writing.numbers import corners, plain
from rcnn.data.writing.plan import Item, Plan

COLUMNS = ("file", "x1", "y1", "x2", "y2", "class")


def place(item: Item) -> str:
    """Where a picture lies."""
    return f"images/{item.file}"


def write(plan: Plan, folder: Path) -> None:
    """Write `SPLIT.csv` for each split, with columns `difficult` and `crowd` where an object is such."""
    flags = [flag for flag in ("difficult", "crowd") if any(getattr(item.sample, flag).any() for item in plan.items)]
    for split, items in plan.splits.items():
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerow((*COLUMNS, *flags))
            table.writerows(row for item in items for row in _rows(item, flags))
    (folder / CLASSES).write_text("".join(f"{name}\n" for name in plan.class_names), "utf-8")


def _rows(item: Item, flags: list[str]) -> Iterator[list[str]]:
    """A row an object; one with the picture alone where there is none."""
    sample = item.sample
    if not sample.names:
        yield [place(item), *[""] * (len(COLUMNS) - 1 + len(flags))]
    for number, (name, box) in enumerate(zip(sample.names, corners(sample), strict=True)):
        marks = [str(int(getattr(sample, flag)[number])) for flag in flags]
        yield [place(item), *map(plain, box), name, *marks]
