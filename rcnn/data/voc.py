"""Pascal VOC: one XML file per picture, in a devkit or in any folder with pictures beside or apart."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from rcnn.data.defects import DefectError, Finding, Kind, OpenedData, Size
from rcnn.data.files import (
    ARRAY_SUFFIXES,
    CLASSES,
    PICTURE_SUFFIXES,
    PictureIndex,
    child,
    files_under,
    listed_names,
    told_otherwise,
)
from rcnn.data.objects import INVERTED, Box, Frame, TrueObject, make_sample, numbers, show
from rcnn.data.places import leads_out
from rcnn.data.voc_splits import split_up
from rcnn.errors import DataError
from rcnn.sample import DataSet, Sample

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_HEAD = 4096
"""Bytes in which an annotation shows what it is, a declaration of its type before it included."""
_MASKS = {"SegmentationClass", "SegmentationObject"}


@dataclass
class _Reading:
    """What has been read so far; samples by id."""

    samples: dict[str, Sample] = field(default_factory=dict)
    sizes: dict[str, Size] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    owners: dict[Path, Path] = field(default_factory=dict)
    """Picture to the annotation that describes it."""
    files: dict[str, Path] = field(default_factory=dict)
    """Sample id to that annotation."""
    numbers: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Sample id to the places of its objects there."""

    def warn(self, kind: Kind, file: Path, sample_id: str, detail: str) -> None:
        """Adds a warning on an annotation as a whole."""
        self.findings.append(Finding("warning", kind, str(file), None, None, detail, sample_id))


def from_voc(box: Box) -> Box:
    """VOC's box, whose first pixel is 1 and whose last is inside, as (x1, y1, x2, y2) with x2 and y2 exclusive."""
    xmin, ymin, xmax, ymax = box
    return xmin - 1, ymin - 1, xmax, ymax


def to_voc(box: Box) -> Box:
    """The inverse of `from_voc`."""
    x1, y1, x2, y2 = box
    return x1 + 1, y1 + 1, x2, y2


def read_voc(path: Path, seed: int = 0) -> OpenedData:
    """The data set of a devkit (its folder or that above), or of a folder with XML files and pictures.

    A picture belongs to an annotation by its name, else by the annotation's <filename>. Splits are the lists in
    ImageSets/Main, else folders called train, val and so on, else drawn with `seed`. Sample ids are the names of the
    XML files without suffix, where several share one their paths. Class names are by the alphabet, behind those that
    ImageSets/classes.txt lists. Raises DataError if there is no XML file.
    """
    root = devkit(path)
    annotations = child(root, "Annotations") or root
    files = files_under(annotations, {".xml"})
    if not files:
        raise DataError(f"{path}: no XML file in it; give a folder with Annotations and JPEGImages, or another format")
    ids = _ids(files, annotations)
    pictures = _pictures(root)
    index = PictureIndex(pictures)
    reading = _Reading()
    for file in files:
        _read_file(file, ids[file], root, index, reading)
    splits, findings, drawn = split_up(root, ids, reading.samples, seed)
    names = _class_names(root, {name for samples in splits.values() for sample in samples for name in sample.names})
    findings = reading.findings + _unlabelled(root, len(set(pictures) - reading.owners.keys())) + findings
    return OpenedData(DataSet(splits, names, drawn=drawn), findings, reading.sizes, reading.files, reading.numbers)


def looks_like_voc(file: Path) -> bool:
    """Whether an XML file begins like an annotation."""
    try:
        with file.open("rb") as stream:
            return b"<annotation" in stream.read(_HEAD)
    except OSError:  # a link that leads nowhere, say
        return False


def devkit(path: Path) -> Path:
    """The folder that holds Annotations, in `path` or in VOCdevkit/VOC2007 below it; `path` itself if there is none.

    Raises DataError if there are several years to choose from.
    """
    above = child(path, "VOCdevkit") or path
    years = [folder for folder in sorted(above.glob("VOC*")) if child(folder, "Annotations")]
    if child(path, "Annotations") or not years:
        return path
    if len(years) > 1:
        raise DataError(f"{path}: holds {' and '.join(year.name for year in years)}; give the folder of one of them")
    return years[0]


def _pictures(root: Path) -> list[Path]:
    pictures = files_under(child(root, "JPEGImages") or root, PICTURE_SUFFIXES | ARRAY_SUFFIXES)
    return [picture for picture in pictures if _MASKS.isdisjoint(picture.parts)]


def _unlabelled(root: Path, count: int) -> list[Finding]:
    detail = f"{count} pictures have no annotation that can be used; left out, for they may show objects"
    return [Finding("warning", "missing-annotation", str(root), None, None, detail)] if count else []


def _class_names(root: Path, used: set[str]) -> tuple[str, ...]:
    file = child(root, "ImageSets") and child(root / "ImageSets", CLASSES)
    listed = listed_names(file) if file else ()
    return (*listed, *sorted(used.difference(listed)))


def _ids(files: Sequence[Path], annotations: Path) -> dict[Path, str]:
    count = Counter(file.stem for file in files)
    return {
        file: file.stem if count[file.stem] == 1 else file.relative_to(annotations).with_suffix("").as_posix()
        for file in files
    }


def _read_file(file: Path, sample_id: str, root: Path, index: PictureIndex, reading: _Reading) -> None:
    try:
        annotation = _parse(file)
        picture = _picture(file, annotation, root, index)
        if picture in reading.owners:
            other = reading.owners[picture]
            raise DefectError("duplicate-id", f"{picture.name} is annotated by {other} already; keep one of the two")
    except DefectError as defect:
        reading.findings.append(defect.finding(file))
        return
    reading.owners[picture] = reading.files[sample_id] = file
    written = annotation.findtext("filename") or ""
    if leads_out(root, written, file.parent):
        detail = (
            f"names {show([written])[1:-1]}, outside the data's folder and never opened; read {picture.name} for it"
        )
        reading.warn("outside-folder", file, sample_id, detail)
    elif told := told_otherwise(written, picture):
        reading.warn("file-name", file, sample_id, told)
    size = _size(annotation)
    if size:
        reading.sizes[sample_id] = size
    elif nothing := _no_size(annotation):
        reading.warn("zero-size", file, sample_id, nothing)
    objects = enumerate(annotation.findall("object"), 1)
    made = make_sample(sample_id, objects, _object, Frame(picture, size), file)
    reading.samples[sample_id], reading.numbers[sample_id] = made.sample, made.numbers
    reading.findings += made.findings


def _parse(file: Path) -> Element:
    try:
        annotation = fromstring(file.read_bytes())
    except DefusedXmlException as error:
        told = "which can swell without end or read other files; never expanded, write it without"
        raise DefectError("unsafe-xml", f"declares entities ({type(error).__name__}), {told}") from None
    except (ParseError, OSError, ValueError, LookupError) as error:
        raise DefectError("broken-xml", f"cannot be read ({' '.join(str(error).split())})") from None
    if annotation.tag != "annotation":
        raise DefectError("broken-xml", f"begins with <{annotation.tag}>, not with <annotation>")
    return annotation


def _picture(file: Path, annotation: Element, root: Path, index: PictureIndex) -> Path:
    written = annotation.findtext("filename") or ""
    picture = index.find([name for name in (file.stem, written) if name.strip()], near=file)
    if picture is None and leads_out(root, written, file.parent):
        raise DefectError("outside-folder", f"names {written.strip()}, outside the data's folder: never opened")
    if picture is None:
        told = f" or {written.strip()}" if written.strip() else ""
        raise DefectError("missing-picture", f"no picture called {file.stem}{told}")
    return picture


def _size(annotation: Element) -> Size | None:
    """Height and width; None where they are left out, or zero as some programs write."""
    try:
        height, width = (int(float(annotation.findtext(f"size/{side}") or 0)) for side in ("height", "width"))
    except (ValueError, OverflowError):
        return None
    return (height, width) if height > 0 and width > 0 else None


def _no_size(annotation: Element) -> str | None:
    """What to say of a size that is told and cannot be; None where it is left out."""
    told = {side: (annotation.findtext(f"size/{side}") or "").strip() for side in ("width", "height")}
    if not any(told.values()):
        return None
    return f"says {told['width'] or 'nothing'}x{told['height'] or 'nothing'} pixels; the picture itself is asked"


def _object(element: Element) -> TrueObject:
    name = " ".join((element.findtext("name") or "").split())
    if not name:
        raise DefectError("no-name", "has no class name")
    box = element.find("bndbox")
    if box is None:
        raise DefectError("no-box", "has no box", name)
    written = [(box.findtext(corner) or "nothing").strip() for corner in _CORNERS]
    xmin, ymin, xmax, ymax = numbers(written, name)
    if xmin == xmax or ymin == ymax:
        raise DefectError("no-area", f"box {show(written)} has no area", name)
    difficult = (element.findtext("difficult") or "").strip().lower() in ("1", "true", "yes")
    ordered = min(xmin, xmax), min(ymin, ymax), max(xmin, xmax), max(ymin, ymax)
    found = TrueObject(name, from_voc(ordered), written, difficult=difficult)
    if ordered != (xmin, ymin, xmax, ymax):
        raise DefectError("inverted", f"box {show(written)} {INVERTED}", name, found)
    return found
