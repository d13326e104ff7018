"""The splits of a VOC data set: from the lists in ImageSets/Main, the names of folders, or drawn."""

from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from rcnn.data.defects import Finding, Kind, Level
from rcnn.data.files import PICTURE_SUFFIXES, SPLIT_NAMES, SPLIT_ORDER, child
from rcnn.data.splits import draw_splits
from rcnn.sample import Sample

Splits = dict[str, list[Sample]]


def split_up(
    root: Path, ids: Mapping[Path, str], samples: Mapping[str, Sample], seed: int
) -> tuple[Splits, list[Finding], bool]:
    """The samples by split, what is wrong with the lists, and whether the splits were drawn.

    `ids` are those of all annotations, good and bad.
    """
    lists = child(root / "ImageSets", "Main")
    listed, findings = _listed(lists, set(ids.values()), samples) if lists else ({}, [])
    if listed:
        used = {sample.id for split in listed.values() for sample in split}
        return listed, findings + _in_no_split(root, len(samples.keys() - used)), False
    by_folder = _by_folder(root, ids, samples)
    return by_folder or draw_splits(list(samples.values()), seed), findings, not by_folder


def _listed(lists: Path, ids: Collection[str], samples: Mapping[str, Sample]) -> tuple[Splits, list[Finding]]:
    splits: Splits = {}
    findings: list[Finding] = []
    for file in sorted(lists.glob("*.[tT][xX][tT]"), key=lambda file: (SPLIT_ORDER.get(_split_name(file), 9), file)):
        lines = [line.strip() for line in file.read_text("utf-8-sig", errors="replace").splitlines() if line.strip()]
        if not lines or _is_of_one_class(file, lines):
            continue
        found, problems = _read_list(file, lines, ids)
        findings += problems
        if found:
            splits[_split_name(file)] = [samples[sample_id] for sample_id in found if sample_id in samples]
    return splits, findings


def _split_name(file: Path) -> str:
    return SPLIT_NAMES.get(file.stem.lower(), file.stem)


def _is_of_one_class(file: Path, lines: list[str]) -> bool:
    """VOC also lists, in files such as dog_train.txt, which pictures show one class: -1, 0 or 1 behind each name."""
    columns = [line.split() for line in lines]
    return "_" in file.stem and all(len(row) > 1 and row[-1] in ("-1", "0", "1") for row in columns)


def _read_list(file: Path, lines: list[str], ids: Collection[str]) -> tuple[list[str], list[Finding]]:
    """The ids of a list, each once, and findings on lines that repeat another or have no annotation."""
    found: dict[str, None] = {}
    twice, unknown = [], []
    for line in lines:
        sample_id = next((name for name in _possible_ids(line) if name in ids), None)
        if sample_id is None:
            unknown.append(line)
        elif sample_id in found:
            twice.append(line)
        else:
            found[sample_id] = None
    findings = [_finding("warning", "duplicate-id", file, f"lists {line} again; counted once") for line in twice]
    if not found:
        detail = f"none of its {len(unknown)} pictures has an annotation; this split is left out"
        return [], [_finding("warning", "missing-annotation", file, detail)]
    advice = "which has no annotation; annotate it or remove the line"
    return list(found), findings + [
        _finding("error", "missing-annotation", file, f"lists {line}, {advice}") for line in unknown
    ]


def _finding(level: Level, kind: Kind, file: Path, detail: str) -> Finding:
    return Finding(level, kind, str(file), None, None, detail)


def _possible_ids(line: str) -> tuple[str, ...]:
    path = PurePosixPath(line.replace("\\", "/"))
    bare = path.with_suffix("") if path.suffix.lower() in PICTURE_SUFFIXES | {".xml"} else path
    return line, bare.as_posix(), bare.name


def _by_folder(root: Path, ids: Mapping[Path, str], samples: Mapping[str, Sample]) -> Splits:
    """Samples by the folder that is called like a split; none unless every annotation lies in one."""
    splits: Splits = {}
    for file, sample_id in ids.items():
        folders = file.relative_to(root).parts[:-1]
        split = next((SPLIT_NAMES[name.lower()] for name in folders if name.lower() in SPLIT_NAMES), None)
        if split is None:
            return {}
        if sample_id in samples:
            splits.setdefault(split, []).append(samples[sample_id])
    return dict(sorted(splits.items(), key=lambda item: SPLIT_ORDER[item[0]]))


def _in_no_split(root: Path, count: int) -> list[Finding]:
    detail = f"{count} annotated pictures are in no list of ImageSets/Main; left out"
    return [_finding("warning", "not-in-split", root, detail)] if count else []
