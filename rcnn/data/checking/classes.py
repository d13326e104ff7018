"""Class names that look like slips of others, and classes that one split alone has."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import combinations

from rcnn.data.defects import Finding, Kind, OpenedData, picture_name
from rcnn.data.splits import every_sample
from rcnn.sample import DataSet, Sample

RARE = 0.05
"""A slip has at most this part of the objects of the class that was meant."""

ONE_SLIP, TWO_SLIPS = 5, 9
"""Letters that a word must have for one or two of them to be a slip: RBC and WBC are different things."""


def class_findings(opened: OpenedData) -> list[Finding]:
    """Warnings on classes that look like slips of others, or whose objects are all in one split.

    A finding names the class's first object, as it is numbered in its annotation.
    """
    firsts = _First(opened)
    count = Counter(name for sample in _annotated(opened.dataset) for name in sample.names)
    findings = []
    for rare, common in slips(count):
        detail = f"{count[rare]} of this class, {count[common]} of {common}; if they are one, give them one name"
        findings.append(firsts.finding("class-typo", rare, detail))
    for name, split, others in alone(opened.dataset):
        lost = "never learned" if split != "train" else f"never measured: {' and '.join(others)} without any"
        findings.append(firsts.finding("class-in-one-split", name, f"all {count[name]} of them are in {split}; {lost}"))
    return findings


def slips(count: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Pairs of class names of which the first, the rarer, looks like a slip of the second.

    Letters' case, signs between words and a plural are a slip whatever the numbers; one letter too many, missing,
    wrong or out of turn (two in long words) only in a class that is rare beside the other. Digits tell classes apart.
    """
    for pair in combinations(sorted(count), 2):
        rare, common = sorted(pair, key=lambda name: (count[name], name))
        if (count[rare] <= RARE * count[common] and _is_slip(_plain(rare), _plain(common))) or _singular(
            rare
        ) == _singular(common):
            yield rare, common


def alone(dataset: DataSet) -> Iterator[tuple[str, str, list[str]]]:
    """Classes all of whose objects are in one of several splits: class, split, the other splits."""
    splits = {s: part for s, part in dataset.splits.items() if part and s in ("train", "val", "test")}
    if len(splits) < 2 or "train" not in splits:
        return
    present = {split: {name for sample in part for name in sample.names} for split, part in splits.items()}
    for name in sorted(set().union(*present.values())):
        holders = [split for split, names in present.items() if name in names]
        if len(holders) == 1:
            yield name, holders[0], [split for split in splits if split != holders[0]]


def _annotated(dataset: DataSet) -> list[Sample]:
    """Each sample once; one picture is two where two splits annotate it each in its own way."""
    return list({id(sample): sample for part in dataset.splits.values() for sample in part}.values())


class _First:
    """Where the first object of each class stands."""

    def __init__(self, opened: OpenedData) -> None:
        self.opened = opened
        self.samples: dict[str, Sample] = {}
        self.known = {sample.id: sample for sample in every_sample(opened.dataset)}
        for sample in _annotated(opened.dataset):
            for name in sample.names:
                self.samples.setdefault(name, sample)

    def finding(self, kind: Kind, name: str, detail: str) -> Finding:
        sample = self.samples[name]
        if self.known[sample.id] is not sample:  # of two annotations of a picture, files and numbers are of the last
            return Finding("warning", kind, picture_name(sample), None, name, detail, sample.id)
        file, numbers = self.opened.files.get(sample.id), self.opened.numbers[sample.id]
        named = f"picture {sample.id}: {detail}" if file and file.suffix.lower() == ".json" else detail
        number = numbers[sample.names.index(name)]
        return Finding("warning", kind, str(file or picture_name(sample)), number, name, named, sample.id)


@cache
def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


@cache
def _singular(name: str) -> str:
    plain = _plain(name)
    for ending, single in (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("s", "")):
        if plain.endswith(ending) and not plain.endswith("ss") and len(plain) - len(ending) > 2:
            return plain.removesuffix(ending) + single
    return plain


def _is_slip(rare: str, common: str) -> bool:
    if re.findall(r"\d", rare) != re.findall(r"\d", common):
        return False
    most = (min(len(rare), len(common)) >= ONE_SLIP) + (min(len(rare), len(common)) >= TWO_SLIPS)
    return most > 0 and abs(len(rare) - len(common)) <= most and _steps(rare, common) <= most


def _steps(a: str, b: str) -> int:
    """The fewest letters to put in, take out, change, or swap with a neighbour, from one word to the other."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, other in enumerate(b, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other)))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                row[j] = min(row[j], older[j - 2] + 1)
    return row[len(b)]
