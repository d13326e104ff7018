"""What a format cannot hold, said in a line each."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from rcnn.data.coco_layout import split_names
from rcnn.data.files import SPLIT_NAMES
from rcnn.data.writing.plan import Plan, objects_of, renamed
from rcnn.sample import DataSet, Sample

HELD: Mapping[str, frozenset[str]] = {
    "coco": frozenset({"difficult", "crowd", "area"}),
    "csv": frozenset({"difficult", "crowd"}),
    "voc": frozenset({"difficult"}),
    "yolo": frozenset(),
}
"""What each format can say of an object beside its class and box."""


def _outlined(sample: Sample) -> int:
    """How many objects have another area than their box."""
    sides = (sample.boxes[:, 2:] - sample.boxes[:, :2]).astype(float)
    return int((~np.isclose(sides.prod(axis=1), sample.area, rtol=1e-4)).sum())  # type: ignore[arg-type]


_LOST: dict[str, Callable[[Sample], int]] = {
    "difficult": lambda sample: int(sample.difficult.sum()),  # type: ignore[union-attr]
    "crowd": lambda sample: int(sample.crowd.sum()),  # type: ignore[union-attr]
    "area": _outlined,
    "weight": lambda sample: int(np.not_equal(sample.weight, 1).sum()),  # type: ignore[arg-type]
}
_MEANING = {
    "difficult": "that an object is difficult",
    "crowd": "that a box covers a crowd",
    "area": "the area of an outline, other than its box's",
    "weight": "an object's weight in the loss",
}


def notes(dataset: DataSet, plan: Plan, to: str) -> Iterator[str]:
    """A line on each thing that will not come back as it was when what is written is read."""
    for what, count in _LOST.items():
        number = sum(count(item.sample) for item in plan.items) if what not in HELD[to] else 0
        if number:
            of = f"{number:,} of {objects_of(plan.items):,} objects"
            yield f"{to.upper()} cannot hold {_MEANING[what]}: lost on {of}"
    if any(item.sample.proposals is not None for item in plan.items):
        yield "proposals are not written; rcnn propose makes them in a file of their own"
    empty = [split for split, samples in dataset.splits.items() if not samples]
    if empty:
        yield f"left out: {', '.join(empty)} (no pictures)"
    if dataset.drawn:
        yield f"the data had no splits: {', '.join(plan.splits)} were drawn, and are now fixed"
    yield from _about_names(plan, to)


def _about_names(plan: Plan, to: str) -> Iterator[str]:
    other = {split: name for split, name in read_back(list(plan.splits), to).items() if split != name}
    for split, name in other.items():
        yield f"split {split} is read back as {name or 'one without splits'}; call it train, val, test or trainval"
    changed = renamed(plan.items)
    if changed:
        old, new = next(iter(changed.items()))
        yield f"pictures renamed, for the names of files must differ: {len(changed)}, as {old} to {new}"


def read_back(splits: list[str], to: str) -> dict[str, str | None]:
    """What readers call these splits; None where they are taken for a data set without."""
    if to in ("voc", "yolo"):
        return {split: SPLIT_NAMES.get(split.lower(), split) for split in splits}
    files = {split: Path("data", f"{split}.csv") for split in splits}
    names = split_names(list(files.values()), Path("data"))
    return {split: names[file] for split, file in files.items()}
