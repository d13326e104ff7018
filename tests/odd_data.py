"""A data set of names, sizes and pictures that have broken readers; and what of it must come back."""

from pathlib import Path

import numpy as np
from PIL import Image

from rcnn.data import check_pictures, every_sample, open_data
from rcnn.data.writing import WRITERS
from rcnn.sample import DataSet, Sample

FORMATS = sorted(WRITERS)
FLAGS = {"coco": {"difficult", "crowd"}, "csv": {"difficult", "crowd"}, "voc": {"difficult"}, "yolo": set()}
NAMES = ("zebra crossing", "cat", "né, 猫", "no", "unused")
"""Not by the alphabet; YAML would read the word as false; a comma; one that no object has."""


def picture(path: Path, width: int, height: int, seed: int = 0, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **options)
    return path


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def boxes(count: int, width: int, height: int, seed: int) -> np.ndarray:
    """Boxes of arbitrary 32-bit floats, some at the picture's edges."""
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.random((2, count, 2)), axis=0) * (width, height)
    made = np.concatenate((low - 1, high + 1), axis=1).clip(0, (width, height, width, height)).astype(np.float32)
    made[:1] = (0, 0, width, height)
    return made


def sample(name: str, file: Path, width: int, height: int, *names: str, **flags) -> Sample:
    arrays = {flag: np.array(values) for flag, values in flags.items()}
    return Sample(name, file, boxes(len(names), width, height, len(name)), names, **arrays)


def odd_data(folder: Path) -> DataSet:
    """Names, sizes and pictures that have broken readers; train and val, and a split that shares their pictures."""
    train = [
        sample("a b", picture(folder / "a b.jpg", 61, 47), 61, 47, "zebra crossing", "cat", difficult=[True, False]),
        sample("v1.2.final", picture(folder / "v1.2.final.JPG", 33, 77, 1), 33, 77, "no", crowd=[True]),
        sample("größe_猫", picture(folder / "größe_猫.JPEG", 50, 50, 2), 50, 50, *["né, 猫"] * 5),
        Sample("empty", picture(folder / "empty.png", 20, 30, 3)),
    ]
    val = [
        sample("turned", picture(folder / "turned.jpg", 64, 40, 4, exif=turned()), 40, 64, "cat", "cat", "no"),
        sample("100%", picture(folder / "100%.PNG", 12, 9, 5), 12, 9, "cat"),
    ]
    return DataSet({"train": train, "val": val, "trainval": train + val}, NAMES)


def truth(data: DataSet, flags) -> dict[str, dict[str, tuple]]:
    """Splits, and in them by stem: boxes, names and those flags that are asked for."""
    return {
        split: {
            Path(s.picture).stem: (s.boxes.tolist(), s.names, *(getattr(s, flag).tolist() for flag in sorted(flags)))
            for s in samples
        }
        for split, samples in data.splits.items()
    }


def stems(data: DataSet) -> list[str]:
    return sorted(
        Path(s.id).stem if s.id.lower().endswith((".jpg", ".jpeg", ".png")) else s.id for s in every_sample(data)
    )


def sound(path: Path) -> DataSet:
    """The data set, which must be without any finding, recognised by looking."""
    opened = open_data(path)
    assert opened.findings == []
    assert check_pictures(every_sample(opened.dataset), sizes=opened.sizes) == []
    return opened.dataset


def listing(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
