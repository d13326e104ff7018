"""Train, val and test: drawn where a data set has none, and found by name."""

import difflib
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rcnn.errors import DataError
from rcnn.sample import DataSet, Sample


def draw_splits(samples: Sequence[Sample], seed: int = 0) -> dict[str, list[Sample]]:
    """70 % train, 15 % val, 15 % test, by rank of the samples' ids once hashed with `seed` (SHA-256).

    The order of the samples and the machine do not matter, and as a data set grows only few samples, those near the
    two borders, change sides. Pictures of the same content stay together: else what is learned would be measured too.
    From three samples on, all different, no split is empty; those of fewer that would be are left out.
    """
    same = _first_of_same(samples)
    ranks = {key: hashlib.sha256(f"{seed}/{key}".encode()).digest() for key in same.values()}
    ranked = sorted(samples, key=lambda sample: (ranks[same[sample.id]], sample.id))
    kinds = [same[sample.id] for sample in ranked]
    count = len(ranked)
    first = _apart(kinds, max(min(round(0.70 * count), count - 2), 1))
    second = _apart(kinds, max(min(round(0.85 * count), count - 1), first + 1))
    parts = {"train": ranked[:first], "val": ranked[first:second], "test": ranked[second:]}
    return {split: sorted(part, key=lambda sample: sample.id) for split, part in parts.items() if part}


def _apart(kinds: Sequence[str], border: int) -> int:
    """The first place from `border` on that parts nothing of one kind."""
    while 0 < border < len(kinds) and kinds[border] == kinds[border - 1]:
        border += 1
    return border


def _first_of_same(samples: Sequence[Sample]) -> dict[str, str]:
    """For each sample's id, the least id among those whose picture files hold the same bytes."""
    by_size: dict[int, list[Sample]] = {}
    for sample in samples:
        if isinstance(sample.picture, Path) and sample.picture.is_file():
            by_size.setdefault(sample.picture.stat().st_size, []).append(sample)
    same = {sample.id: sample.id for sample in samples}
    for rivals in by_size.values():
        if len(rivals) > 1:  # only files of the same length need to be read
            _join(rivals, same)
    return same


def _join(rivals: Sequence[Sample], same: dict[str, str]) -> None:
    first: dict[bytes, str] = {}
    for sample in sorted(rivals, key=lambda sample: sample.id):
        with suppress(OSError), Path(str(sample.picture)).open("rb") as stream:
            same[sample.id] = first.setdefault(hashlib.file_digest(stream, "sha256").digest(), sample.id)


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
