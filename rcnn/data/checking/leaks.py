"""Pictures that are in two splits at once: what a detector has learned by heart says nothing about it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from rcnn.data.checking.near import groups, near_pairs
from rcnn.data.checking.pictures import Look
from rcnn.data.defects import Finding, Kind, picture_name
from rcnn.sample import DataSet, Sample

_UNIONS = {"trainval": {"train", "val"}}
"""Splits that by their name hold others."""

_WHOLE = {"all", "full", "complete", "everything"}

_SHOWN = 4
"""Pictures of a group that a finding names."""


def leaks(dataset: DataSet, looks: Mapping[str, Look]) -> list[Finding]:
    """Pictures, by id, file or content, of two splits, and such as one split holds twice.

    Near-duplicates across splits are told where `looks` have fingerprints.
    """
    places = _Places.of(dataset)
    twins = [ids for ids in _same(places, looks).values() if len(ids) > 1 or places.is_split(ids)]
    across = [ids for ids in twins if places.is_split(ids)]
    within = [ids for ids in twins if not places.is_split(ids)]
    findings = [places.finding("in-two-splits", ids, "the same picture, to the last byte") for ids in across]
    findings += [places.finding("duplicate-picture", ids, "the same picture twice") for ids in within]
    prints = {one: look.fingerprint for one, look in looks.items() if look.fingerprint is not None}
    told = {frozenset(pair) for ids in twins for pair in combinations(ids, 2)}
    pairs = {
        pair
        for one, other in combinations(places.splits, 2)
        if prints and parted(one, other)
        for pair in near_pairs(places.splits[one], places.splits[other], prints)
        if frozenset(pair) not in told
    }
    return findings + [places.finding("near-duplicate", ids, "look the same") for ids in groups(pairs)]


def parted(one: str, other: str) -> bool:
    """Whether two splits should share no picture: trainval holds train and val, and `all` everything."""
    return not ({one, other} & _WHOLE or one in _UNIONS.get(other, ()) or other in _UNIONS.get(one, ()))


@dataclass(frozen=True)
class _Places:
    """Which picture is in which splits."""

    samples: dict[str, Sample]
    splits: dict[str, list[str]]
    of_sample: dict[str, list[str]]

    @classmethod
    def of(cls, dataset: DataSet) -> "_Places":
        splits = {split: list(dict.fromkeys(s.id for s in part)) for split, part in dataset.splits.items()}
        of_sample: dict[str, list[str]] = {}
        for split, ids in splits.items():
            for one in ids:
                of_sample.setdefault(one, []).append(split)
        return cls({s.id: s for part in dataset.splits.values() for s in part}, splits, of_sample)

    def is_split(self, ids: Iterable[str]) -> bool:
        """Whether these lie in two splits that should share nothing."""
        splits = dict.fromkeys(split for one in ids for split in self.of_sample[one])
        return any(parted(one, other) for one, other in combinations(splits, 2))

    def finding(self, kind: Kind, ids: Sequence[str], what: str) -> Finding:
        """The warning on some pictures, in the name of one that is not learned from, if there is one."""
        first, *others = sorted(ids, key=lambda one: ("train" in self.of_sample[one], one))
        told = [f"{one} ({self._where(one)})" for one in others[:_SHOWN]]
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        beside = f": {', '.join(told)}{more}" if others else ""
        detail = f"in {self._where(first)}; {what}{beside}" if others else f"is in {self._where(first)}"
        return Finding("warning", kind, picture_name(self.samples[first]), None, None, detail, first)

    def _where(self, one: str) -> str:
        return " and ".join(self.of_sample[one])


def _same(places: _Places, looks: Mapping[str, Look]) -> dict[object, list[str]]:
    """The ids that stand for one picture: of the same content, or where nobody looked, of the same file."""
    owners: dict[object, list[str]] = {}
    for one, sample in places.samples.items():
        look = looks.get(one)
        owners.setdefault((look.digest if look else b"") or picture_name(sample), []).append(one)
    return owners
