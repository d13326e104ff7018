"""Train, val and test: drawn where a data set has none, and found by name."""

import difflib
import hashlib
from collections.abc import Sequence

from rcnn.errors import DataError
from rcnn.sample import DataSet, Sample


def draw_splits(samples: Sequence[Sample], seed: int = 0) -> dict[str, list[Sample]]:
    """70 % train, 15 % val, 15 % test, by rank of the samples' ids once hashed with `seed` (SHA-256).

    The order of the samples and the machine do not matter, and as a data set grows only few samples, those near the
    two borders, change sides. From three samples on no split is empty; those of fewer that would be are left out.
    """
    ranked = sorted(samples, key=lambda sample: hashlib.sha256(f"{seed}/{sample.id}".encode()).digest())
    count = len(ranked)
    first = max(min(round(0.70 * count), count - 2), 1)
    second = max(min(round(0.85 * count), count - 1), first + 1)
    parts = {"train": ranked[:first], "val": ranked[first:second], "test": ranked[second:]}
    return {split: sorted(part, key=lambda sample: sample.id) for split, part in parts.items() if part}


def samples_of(dataset: DataSet, split: str) -> list[Sample]:
    """The samples of a split; `trainval` is train and val together unless the data set has its own.

    Raises DataError with the names that exist where there is no such split.
    """
    splits = dataset.splits
    if split in splits:
        return splits[split]
    if split == "trainval" and "train" in splits and "val" in splits:
        return splits["train"] + splits["val"]
    close = difflib.get_close_matches(split, splits, n=1, cutoff=0.4)
    hint = f" (did you mean '{close[0]}'?)" if close else ""
    raise DataError(f"split '{split}': the data has {', '.join(splits) or 'none'}{hint}")


def every_sample(dataset: DataSet) -> list[Sample]:
    """Each sample once, although splits such as train and trainval share theirs."""
    return list({sample.id: sample for samples in dataset.splits.values() for sample in samples}.values())
