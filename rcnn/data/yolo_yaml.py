"""YOLO's `data.yaml`: the classes, and where each split's pictures are."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rcnn.data.defects import Finding, Kind, Level
from rcnn.data.files import SPLIT_NAMES
from rcnn.data.places import inside, slashed, tail_in
from rcnn.errors import DataError

_OTHER_KEYS = {"path", "names", "nc", "download", "channels", "roboflow", "kpt_shape", "flip_idx", "kpt_names"}
_LARGEST = 1 << 22
"""Bytes: no list of classes is longer."""


@dataclass
class Description:
    """What a `data.yaml` says: class numbers with their names, and the folders or lists of each split."""

    file: Path
    root: Path
    """The data folder: nothing outside of it is read."""
    names: dict[int, str] = field(default_factory=dict)
    splits: dict[str, list[Path]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def blame(self, kind: Kind, detail: str, level: Level = "error") -> None:
        """Adds a finding on the file as a whole."""
        self.findings.append(Finding(level, kind, str(self.file), None, None, detail))


def looks_like_description(file: Path) -> bool:
    """Whether a YAML file names classes and at least one split."""
    try:
        content = _load(file)
    except DataError:
        return False
    return not content.keys().isdisjoint({"names", "nc"}) and any(key.lower() in SPLIT_NAMES for key in content)


def read_description(file: Path) -> Description:
    """What the file says, with findings on what is not as it says; raises DataError for a file of another kind."""
    content = _load(file)
    described = Description(file, file.parent)
    _set_root(described, content.get("path"))
    described.names = _names(content, described)
    for key, value in content.items():
        entries = [slashed(entry) for entry in _entries(value)]
        split = SPLIT_NAMES.get(key.lower(), key)
        if key in _OTHER_KEYS or (split == key and key not in SPLIT_NAMES and not _are_there(entries, described.root)):
            continue
        places = [place for entry in entries if (place := _place(entry, key, described))]
        if places:
            described.splits.setdefault(split, []).extend(places)
    if not described.splits:
        raise DataError(_first_detail(described) or f"{file}: names no split; add a line such as train: images/train")
    return described


def _load(file: Path) -> dict[str, Any]:
    """The file's content, all words: YAML's own types would make the classes `no` and `1.0` something else."""
    try:
        if file.stat().st_size > _LARGEST:
            raise DataError(f"{file}: {file.stat().st_size:,} bytes; a data.yaml is smaller: give that")
        content = yaml.load(file.read_text("utf-8-sig"), Loader=yaml.BaseLoader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{file}: cannot be read as YAML ({' '.join(str(error).split())}); mend it") from None
    if not isinstance(content, dict):
        raise DataError(f"{file}: not a data.yaml, which has lines such as train: and names:; give that")
    return {str(key): value for key, value in content.items()}


def _set_root(described: Description, written: object) -> None:
    if not isinstance(written, str) or not written.strip():
        return
    root = described.file.parent / slashed(written)
    if root.is_dir():
        described.root = root
    else:
        detail = f"path: there is no folder {written}; the file's own folder is taken for it"
        described.blame("wrong-path", detail, "warning")


def _names(content: dict[str, Any], described: Description) -> dict[int, str]:
    given = content.get("names", [])
    if not isinstance(given, list | dict):
        raise DataError(f"{described.file}: names: give a list of classes, or a number and a name a line")
    pairs = given.items() if isinstance(given, dict) else enumerate(given)
    names: dict[int, str] = {}
    for key, name in pairs:
        if not str(key).strip().isdecimal() or not isinstance(name, str):
            raise DataError(f"{described.file}: names: '{key}' is not the number of one name; write 0: cat")
        names[int(key)] = " ".join(name.split()) or str(key)
    names = names or _counted(content.get("nc"), described)
    if str(content.get("nc", len(names))).strip() != str(len(names)):
        detail = f"nc: says {content['nc']}, and {len(names)} classes are named; the names are taken"
        described.blame("class-names", detail, "warning")
    for name in sorted({name for name in names.values() if list(names.values()).count(name) > 1}):
        described.blame("duplicate-id", f"two classes are called {name}; read as one class", "warning")
    return names


def _counted(count: object, described: Description) -> dict[int, str]:
    """As many classes as `nc` says, called by their numbers."""
    number = int(count) if isinstance(count, str) and count.strip().isdecimal() else 0
    if number > _LARGEST:
        raise DataError(f"{described.file}: nc: {number} classes; list their names")
    if number:
        described.blame("class-names", f"names no class; the {number} classes are called by their numbers", "warning")
    return {index: str(index) for index in range(number)}


def _entries(value: object) -> list[str]:
    entries = value if isinstance(value, list) else [value]
    return [entry for entry in entries if isinstance(entry, str) and entry.strip()]


def _are_there(entries: list[str], root: Path) -> bool:
    """Whether a key of unknown meaning holds folders or lists of the data, and so is a split of the user's own."""
    places = [root / entry for entry in entries]
    return bool(places) and all(
        inside(root, place) and (place.is_dir() or (place.suffix == ".txt" and place.is_file())) for place in places
    )


def _place(entry: str, split: str, described: Description) -> Path | None:
    """The folder or list that an entry means: as it says, else where the end of its path is found."""
    root = described.root
    place = root / entry
    if place.exists() and inside(root, place):
        if root != described.file.parent and (described.file.parent / entry).exists():
            own = f"{entry} exists beside this file too"
            described.blame("wrong-path", f"{split}: read in {root}, named by path:; {own}", "warning")
        return place
    found = tail_in(root, entry)
    if found is not None:
        detail = f"{split}: {entry} is not in the data folder; {found.relative_to(root)} is read in its place"
        described.blame("wrong-path", detail, "warning")
        return found
    if place.exists():
        described.blame("outside-folder", f"{split}: {entry} leaves the data folder {root}; not read: mend path:")
    else:
        described.blame("missing-split", f"{split}: there is no {entry} in {root}; mend or remove the line")
    return None


def _first_detail(described: Description) -> str | None:
    return next((str(finding) for finding in described.findings if finding.level == "error"), None)
