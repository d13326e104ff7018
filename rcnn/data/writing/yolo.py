"""Writing YOLO: pictures and labels in a folder per split, and `data.yaml`."""

from pathlib import Path

import yaml

from rcnn.data.objects import Box
from rcnn.data.writing.plan import Item, Plan
from rcnn.data.yolo_labels import to_yolo


def place(item: Item) -> str:
    """Where a picture lies."""
    return f"images/{item.split}/{item.file}"


def write(plan: Plan, folder: Path) -> None:
    """Write labels and `data.yaml`, which has no `path:`: the data is where the file is, wherever that is moved.

    A split that shares pictures with one before it is a list, `SPLIT.txt`. A picture without objects has an empty file.
    """
    numbers = {name: number for number, name in enumerate(plan.class_names)}
    for item in plan.items:
        file = folder / "labels" / item.split / f"{item.name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in _lines(item, numbers)), "utf-8")
    places = {split: _split(split, items, folder) for split, items in plan.splits.items()}
    content = {**places, "names": dict(enumerate(plan.class_names))}
    text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=1000)
    (folder / "data.yaml").write_text(text, "utf-8")


def _split(split: str, items: list[Item], folder: Path) -> str:
    """The folder of a split, or the list that had to be written for it."""
    if all(item.split == split for item in items):
        return f"images/{split}"
    lines = "".join(f"./{place(item)}\n" for item in items)
    (folder / f"{split}.txt").write_text(lines, "utf-8")
    return f"{split}.txt"


def _lines(item: Item, numbers: dict[str, int]) -> list[str]:
    """A line an object: its numbers have all digits of 64-bit floats, so that pixels come back as they were."""
    boxes: list[Box] = [(x1, y1, x2, y2) for x1, y1, x2, y2 in item.sample.boxes.tolist()]
    return [
        f"{numbers[name]} {' '.join(map(repr, to_yolo(box, item.size)))}"
        for name, box in zip(item.sample.names, boxes, strict=True)
    ]
