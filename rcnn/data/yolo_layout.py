"""Which pictures a YOLO data set has, in which splits, and where the labels of each are."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rcnn.data.defects import Finding, Kind, Level
from rcnn.data.files import PICTURE_SUFFIXES, SPLIT_NAMES, SPLIT_ORDER, child, files_under
from rcnn.data.places import Listing, inside, is_absolute, slashed, tail_in
from rcnn.data.yolo_yaml import looks_like_description, read_description
from rcnn.errors import DataError

PICTURE_FOLDERS = ("images", "jpegimages")
"""The last folder of such a name in a picture's path becomes `labels` in that of its labels."""
_NAME_FILES = ("classes.txt", "obj.names")


@dataclass
class Layout:
    """A YOLO data set before its labels are read."""

    root: Path
    """The data folder: nothing outside of it is read."""
    names: dict[int, str] | None
    """Class number to name; None where nothing names the classes."""
    splits: dict[str, list[Path]] = field(default_factory=dict)
    """Pictures by split; all under "" where the data has none."""
    findings: list[Finding] = field(default_factory=list)

    def blame(self, kind: Kind, file: Path, detail: str, level: Level = "error", number: int | None = None) -> None:
        """Adds a finding."""
        self.findings.append(Finding(level, kind, str(file), number, None, detail))


def lay_out(path: Path) -> Layout:
    """The layout of a `data.yaml`, of a folder with one, or of a folder of pictures and labels.

    Raises DataError where there are several `data.yaml` to choose from, or no picture.
    """
    file = path if path.is_file() else _description_in(path)
    layout = _described(file) if file else _bare(path)
    if not any(layout.splits.values()):
        told = next((str(finding) for finding in layout.findings if finding.level == "error"), None)
        raise DataError(told or f"{path}: no picture in it; give a folder with images and labels, or a data.yaml")
    return layout


def _description_in(path: Path) -> Path | None:
    files = [file for file in sorted(path.iterdir()) if file.suffix.lower() in (".yaml", ".yml")]
    found = [file for file in files if file.is_file() and looks_like_description(file)]
    if len(found) > 1 and not (found := [file for file in found if file.name.lower() == "data.yaml"]):
        raise DataError(f"{path}: has several files that could be its data.yaml; give one of them")
    return found[0] if found else None


def _described(file: Path) -> Layout:
    described = read_description(file)
    names = described.names or _listed_names(described.root)
    layout = Layout(described.root, names, findings=described.findings)
    for split, places in described.splits.items():
        pictures: dict[Path, None] = {}
        for place in places:
            pictures |= dict.fromkeys(_pictures_in(place) if place.is_dir() else _listed(place, layout))
        layout.splits[split] = list(pictures)
    return layout


def _bare(root: Path) -> Layout:
    """A folder without description: splits are the lists `train.txt` and so on, else folders of such names."""
    layout = Layout(root, _listed_names(root))
    lists = [
        file
        for file in sorted(root.glob("*.txt"))
        if file.stem.lower() in SPLIT_NAMES and file.is_file() and _is_list(file)
    ]
    found: dict[str, list[Path]] = {}
    for file in lists:
        found.setdefault(SPLIT_NAMES[file.stem.lower()], []).extend(_listed(file, layout))
    found = found or _by_folder(_pictures_in(root), root)
    layout.splits = dict(sorted(found.items(), key=lambda item: SPLIT_ORDER.get(item[0], 9)))
    return layout


def _pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder; where some lie in folders called images, those alone: the others may be plots."""
    pictures = files_under(folder, PICTURE_SUFFIXES)
    proper = [picture for picture in pictures if _is_proper(picture.relative_to(folder).parts[:-1])]
    return proper or pictures


def _is_proper(folders: Sequence[str]) -> bool:
    return any(name.lower() in PICTURE_FOLDERS for name in folders)


def _by_folder(pictures: Iterable[Path], root: Path) -> dict[str, list[Path]]:
    splits: dict[str, list[Path]] = {}
    for picture in pictures:
        folders = picture.relative_to(root).parts[:-1]
        split = next((SPLIT_NAMES[name.lower()] for name in folders if name.lower() in SPLIT_NAMES), "")
        splits.setdefault(split, []).append(picture)
    return {"": [picture for part in splits.values() for picture in part]} if "" in splits else splits


def _listed_names(root: Path) -> dict[int, str] | None:
    """The classes, one a line, in a file that tools for labelling write."""
    folders = [folder for folder in (root, child(root, "labels"), child(root, "images")) if folder]
    file = next((found for folder in folders for name in _NAME_FILES if (found := child(folder, name))), None)
    if file is None:
        return None
    lines = file.read_text("utf-8-sig", errors="replace").strip().splitlines()
    return {number: " ".join(line.split()) or str(number) for number, line in enumerate(lines)} or None


def _is_list(file: Path) -> bool:
    return any(os.path.splitext(line)[1].lower() in PICTURE_SUFFIXES for line in _lines(file)[:1])


def _lines(file: Path) -> list[str]:
    lines = file.read_text("utf-8-sig", errors="replace").splitlines()
    return [slashed(line) for line in lines if line.strip()]


def _listed(file: Path, layout: Layout) -> list[Path]:
    """The pictures of a list, each once; lines that name none, or one outside of the data folder, are findings."""
    found: dict[Path, None] = {}
    moved: list[str] = []
    for line in _lines(file):
        place = _place(line, file.parent, layout.root)
        if place is None:
            place = tail_in(layout.root, line) if is_absolute(line) or _stays(line, file.parent, layout.root) else None
            moved += [line] if place else []
        if place is None:
            _blame_line(line, file, layout)
        elif place in found:
            layout.blame("duplicate-id", file, f"lists {line} again; counted once", "warning")
        else:
            found[place] = None
    if moved:
        detail = f"{len(moved)} of its pictures, as {moved[0]}, are found by the ends of their paths alone"
        layout.blame("wrong-path", file, detail, "warning")
    return list(found)


def _place(line: str, folder: Path, root: Path) -> Path | None:
    """The picture that a line of a list in `folder` names, if it is one and in the data folder."""
    places = (Path(os.path.normpath(start / line)) for start in (folder, root))
    return next((place for place in places if inside(root, place) and place.is_file()), None)


def _stays(line: str, folder: Path, root: Path) -> bool:
    return any(inside(root, start / line) for start in (folder, root))


def _blame_line(line: str, file: Path, layout: Layout) -> None:
    if _stays(line, file.parent, layout.root) or (is_absolute(line) and not Path(line).exists()):
        layout.blame("missing-picture", file, f"lists {line}, which is not there; mend or remove the line")
    else:
        layout.blame("outside-folder", file, f"lists {line}, outside of the data folder {layout.root}; not read")


class LabelFiles:
    """Finds the labels of pictures: in the folder `labels` that is beside `images`, else beside the picture."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folders: dict[Path, Path] = {}
        """Folder of labels to the folder of their pictures."""
        self._listing = Listing()

    def find(self, picture: Path) -> Path | None:
        """The file of labels, if there is one, whatever the case of its letters."""
        apart = self._apart(picture.parent)
        if apart is not None:
            self.folders[apart] = picture.parent
        places = [folder for folder in (apart, picture.parent) if folder is not None]
        found = (self._listing.find(folder, f"{picture.stem}.txt") for folder in places)
        return next((file for file in found if file), None)

    def without_picture(self) -> list[Path]:
        """The files of labels whose picture is not there, in the folders that were looked in."""
        lost: list[Path] = []
        for labels, pictures in self.folders.items():
            files = self._listing.of(pictures).values()
            stems = {file.stem.casefold() for file in files if file.suffix.lower() in PICTURE_SUFFIXES}
            found = {file for file in self._listing.of(labels).values() if file.suffix.lower() == ".txt"}
            lost += [file for file in found if file.stem.casefold() not in stems and file.name not in _NAME_FILES]
        return sorted(lost)

    def _apart(self, folder: Path) -> Path | None:
        parts = Path(os.path.relpath(folder, self.root)).parts
        place = max((number for number, name in enumerate(parts) if name.lower() in PICTURE_FOLDERS), default=None)
        if place is None:
            return None
        above = self.root.joinpath(*parts[:place])
        return (child(above, "labels") or above / "labels").joinpath(*parts[place + 1 :])
