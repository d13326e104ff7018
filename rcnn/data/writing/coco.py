"""Writing COCO: `annotations/instances_SPLIT.json`, and all pictures in one folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rcnn.data.writing.numbers import corners, whole_or_real
from rcnn.data.writing.plan import Item, Plan

Entry = dict[str, Any]


def place(item: Item) -> str:
    """Where a picture lies."""
    return f"images/{item.file}"


def write(plan: Plan, folder: Path) -> None:
    """Write a file per split; `difficult` is ours: COCO has no such key, and other programs pass over it."""
    (folder / "annotations").mkdir(parents=True)
    numbers = _picture_numbers(plan.items)
    categories = [{"id": plan.category_ids[name], "name": name} for name in plan.class_names]
    for split, items in plan.splits.items():
        content = {
            "images": [_image(item, numbers[item.name]) for item in items],
            "annotations": _annotations(items, numbers, plan.category_ids),
            "categories": categories,
        }
        text = json.dumps(content, ensure_ascii=False)
        (folder / "annotations" / f"instances_{split}.json").write_text(text + "\n", "utf-8")


def _picture_numbers(items: Sequence[Item]) -> dict[str, int]:
    """By name: the numbers of the COCO file they come from, if all pictures have one of their own, else 1, 2 ..."""
    given = {item.name: item.sample.coco_id for item in items if item.sample.coco_id is not None}
    if len(set(given.values())) == len(items):
        return given
    return {item.name: number for number, item in enumerate(items, 1)}


def _image(item: Item, number: int) -> Entry:
    height, width = item.size
    return {"id": number, "file_name": item.file, "width": width, "height": height}


def _annotations(items: Sequence[Item], numbers: dict[str, int], categories: dict[str, int]) -> list[Entry]:
    entries: list[Entry] = []
    for item in items:
        sample = item.sample
        rows = zip(sample.names, corners(sample), sample.area, sample.crowd, sample.difficult, strict=True)  # type: ignore[arg-type]
        for name, (x1, y1, x2, y2), area, crowd, difficult in rows:
            entry = {
                "id": len(entries) + 1,
                "image_id": numbers[item.name],
                "category_id": categories[name],
                "bbox": [whole_or_real(value) for value in (x1, y1, x2 - x1, y2 - y1)],
                "area": float(area),
                "iscrowd": int(crowd),
            }
            entries.append(entry | ({"difficult": 1} if difficult else {}))
    return entries
