"""A detector that `rcnn export` wrote, without torch: NumPy, Pillow and the engine are all it needs.

This file stands by itself and can be copied to where it is used. `pip install numpy pillow onnxruntime`, or openvino
for model.xml, then

    import runtime
    detector = runtime.load("model.onnx")
    for found in detector.predict(["a.jpg", "b.jpg"]):
        print(found.names, found.scores, found.boxes)

Letters of shapes: B pictures, H W the canvas, h w the resized picture, C channels, P regions, D detections.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache
from importlib import import_module
from itertools import islice, repeat
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image, ImageOps

FORMAT_VERSION = 1
SHOWN = 0.5
"""The score from which a class without a stored threshold is shown."""
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")
"""What is decoded; some of Pillow's other formats start foreign programs."""

Size = tuple[int, int]
"""Height and width."""
Picture = str | Path | np.ndarray
"""A file, or an array [height, width, C] of uint8; of uint16 or float32 for files of kind `normalised`."""
Arrays = Mapping[str, np.ndarray]
Infer = Callable[[Arrays], dict[str, np.ndarray]]
OUTPUTS = ("boxes", "scores", "labels", "count")
_NONE = np.zeros((0, 4), np.float32)


class ModelFileError(ValueError):
    """A file that cannot be used as a detector, in one line: the file, what is wrong, what to do."""


class PictureError(ValueError):
    """A picture that cannot be used, in one line."""


@dataclass(frozen=True)
class Detections:
    """What was found in one picture, best first; boxes are (x1, y1, x2, y2) in that picture's own pixels."""

    boxes: np.ndarray  # [D, 4] float32
    scores: np.ndarray  # [D] float32
    labels: np.ndarray  # [D] int64, from 1
    names: list[str]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Input:
    """How pictures become a graph's input: canvases of bytes (`uint8`) or `normalised`, or one `picture` as it is."""

    kind: str
    short: int
    long: int
    bucket: str
    resize: str
    channels: int
    mean: Sequence[float]
    std: Sequence[float]
    range: Sequence[float] | None
    max_pixels: int

    def resized(self, size: Size) -> Size:
        """The size of a picture on its canvas: the short side is `short` unless the long one would exceed `long`."""
        if self.kind == "picture":
            return size
        scale = min(self.short / min(size), self.long / max(size))
        half = 0.5 if self.resize == "pillow" else 0.0
        return max(1, math.floor(size[0] * scale + half)), max(1, math.floor(size[1] * scale + half))

    def canvas(self, size: Size) -> Size:
        """The canvas of a resized picture."""
        if self.kind == "picture" or self.bucket == "exact":
            return size
        if self.bucket == "exact32":
            return _up32(size[0]), _up32(size[1])
        steps = sorted({_up32(side) for side in (self.short, (self.short + self.long) / 2, self.long)})
        height, width = (next(step for step in steps if step >= side) for side in size)
        return height, width

    def numbers(self, picture: np.ndarray) -> np.ndarray:
        """A picture [height, width, C] as its canvas shows it: bytes, or normalised numbers, [h, w, C]."""
        if self.kind != "normalised" and picture.dtype != np.uint8:
            raise PictureError(f"a picture of {picture.dtype}: this file takes 8 bits; export with --input normalised")
        usual = picture.dtype == np.uint8 and self.channels == 3 and self.range is None
        shown = resize(picture, self.resized(_size(picture)), self.resize if usual else "bilinear")
        if self.kind != "normalised":
            return np.rint(shown).astype(np.uint8)
        if self.range is None and picture.dtype not in (np.uint8, np.uint16):
            raise PictureError(f"a picture of {picture.dtype}: this detector has no range for it; give 8 or 16 bits")
        low, high = self.range or (0, 255 if picture.dtype == np.uint8 else 65535)
        mean, std = (np.array(values, np.float32) for values in (self.mean, self.std))
        return ((shown - np.float32(low)) / np.float32(high - low) - mean) / std


def resize(picture: np.ndarray, size: Size, how: str = "bilinear") -> np.ndarray:
    """A picture at another size: bilinear between pixel centres without antialiasing, or as Pillow does, in bytes."""
    if _size(picture) == size:
        return picture
    if how == "pillow":
        return np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR))
    (tops, bottoms, down), (lefts, rights, across) = (_ends(*axis) for axis in zip(picture.shape, size, strict=False))
    down, across = down[:, None, None], across[:, None]
    rows = picture[tops] * (1 - down) + picture[bottoms] * down
    return rows[:, lefts] * (1 - across) + rows[:, rights] * across


def _ends(before: int, after: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Along an axis, for each new pixel: the two old ones that it lies between, and how far towards the second."""
    exact = (np.arange(after) + 0.5) * np.float64(np.float32(before / after)) - 0.5
    centres = np.maximum(exact, 0).astype(np.float32)
    first = np.minimum(centres.astype(np.int64), before - 1)
    return first, np.minimum(first + 1, before - 1), centres - first.astype(np.float32)


def _up32(side: int | float) -> int:
    return math.ceil(side / 32) * 32


def _size(picture: np.ndarray) -> Size:
    return picture.shape[0], picture.shape[1]


def read(file: str | Path, channels: int = 3, max_pixels: int = 100_000_000) -> np.ndarray:
    """The picture in a file as it is shown [height, width, C]: upright (EXIF), transparent parts on white."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            deep = image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM"))
            if deep or not 0 < image.width * image.height <= max_pixels:
                limits = f"up to {max_pixels:,} pixels of 8 or 16 bits are read"
                raise PictureError(f"{file}: {image.width} x {image.height}, {image.mode}; {limits}")
            return _pixels(image, channels)
    except PictureError:
        raise
    except Exception as error:  # a broken file makes decoders raise nearly anything
        raise PictureError(f"{file}: cannot be read ({_line(error)}); mend the path, or save it anew") from error


def _pixels(image: Image.Image, channels: int) -> np.ndarray:
    image.load()  # raises where pixels are broken, and only this first time
    with suppress(Exception):  # broken EXIF data
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") and channels in (1, 3):  # 16 bits of gray, whatever Pillow keeps them in
        gray = np.asarray(image).astype(np.uint16)[:, :, None]
        return gray if channels == 1 else np.repeat((gray.astype(np.uint32) * 255 + 32767) // 65535, 3, 2).astype("u1")
    if channels == 3 and image.has_transparency_data:
        picture = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    array = np.asarray(image.convert("RGB" if channels == 3 else "L") if channels in (1, 3) else image)
    return array.reshape(*array.shape[:2], -1)


class Engine:
    """A graph that is ready to run: `metadata` is what its file says of it, `input` what it takes."""

    def __init__(
        self, path: Path, metadata: Mapping[str, Any], inputs: set[str], infer: Infer, outputs: Iterable[str] = OUTPUTS
    ) -> None:
        self.path, self.metadata, self.inputs, self._infer = path, metadata, inputs, infer
        self.input = Input(**{field.name: metadata["input"][field.name] for field in fields(Input)})
        names = {"images"} if self.input.kind == "picture" else {"images", "sizes", "original_sizes"}
        names |= {"proposals", "proposals_valid"} if metadata["proposals"] else set()
        if inputs - names or (names & {"images", "original_sizes"}) - inputs:  # some graphs make no use of the others
            raise ModelFileError(f"{path}: it takes {', '.join(sorted(inputs))}, as no detector does; export it again")
        if missing := sorted(set(OUTPUTS) - set(outputs)):
            raise ModelFileError(f"{path}: it gives no {', '.join(missing)}, as a detector does; export it again")

    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """From `images` and what belongs to them: `boxes` [B, D, 4], `scores` and `labels` [B, D], `count` [B].

        A graph of a fixed batch runs as often as need be; in places that stay empty stands the last picture again.
        """
        arrays = {name: array for name, array in arrays.items() if name in self.inputs}
        batch, count = self.metadata["batch"], len(arrays["images"])
        if batch is None or self.input.kind == "picture":
            return self._infer(arrays)
        places = np.minimum(np.arange(-(-count // batch) * batch), count - 1).reshape(-1, batch)
        parts = [self._infer({name: array[place] for name, array in arrays.items()}) for place in places]
        return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}


def open_engine(path: str | Path, threads: int | None = None, precision: str | None = None) -> Engine:
    """The engine of an .onnx (ONNX Runtime) or .xml (OpenVINO) file, on so many of the processor's cores.

    `precision`: fp32, or bf16 where OpenVINO and the processor can; unless given the file's. Raises ModelFileError.
    """
    path = Path(path)
    if precision not in (None, "fp32", "bf16"):
        raise ModelFileError(f"{path}: no precision {precision!r} is known; give fp32 or bf16, or leave it out")
    package, start = ENGINES.get(path.suffix.lower(), ("", _onnxruntime))
    if not package:
        raise ModelFileError(f"{path}: neither .onnx nor .xml; give a file that rcnn export wrote")
    for file in (path, path.with_suffix(".bin"))[: 1 + (package == "openvino")]:
        if not file.is_file():
            raise ModelFileError(f"{file}: no such file; mend the path, or bring all that rcnn export wrote")
    try:
        return start(import_module(package), path, threads, precision)
    except ImportError as error:
        raise ModelFileError(f"{path}: needs {package} ({_line(error)}); pip install {package}") from error
    except ModelFileError:
        raise
    except Exception as error:  # engines raise nearly anything
        raise ModelFileError(f"{path}: {package} cannot use it ({_line(error)}); export it again") from error


def described(path: Path, text: str | None) -> dict[str, Any]:
    """The metadata of a file, from the text in it; raises ModelFileError where they are not a detector's."""
    if not text:
        raise ModelFileError(f"{path}: no detector of rcnn (it has no metadata 'rcnn'); give what rcnn export wrote")
    try:
        metadata = json.loads(text)
        if (version := metadata["format_version"]) <= FORMAT_VERSION:
            keys = {"class_names", "thresholds", "category_ids", "input", "batch", "proposals", "precision"}
            if missing := keys - set(metadata) | {field.name for field in fields(Input)} - set(metadata["input"]):
                raise LookupError(f"no {sorted(missing)[0]}")
            _check({**metadata, **metadata["input"]})
            return metadata
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ModelFileError(f"{path}: its metadata are broken ({_line(error)}); export it again") from error
    raise ModelFileError(f"{path}: format {version}, and {FORMAT_VERSION} is the newest known here; upgrade rcnn")


def _check(about: Mapping[str, Any]) -> None:
    """Raise ValueError for the first value of a file's metadata that is not what it should be."""
    names, regions, limits, channels = (about[key] for key in ("class_names", "proposals", "range", "channels"))
    right = {
        "class_names": isinstance(names, list) and {*map(type, names)} == {str} and len({*names}) == len(names),
        "thresholds": _numbers([score for score in about["thresholds"].values() if score is not None]),
        "category_ids": {*map(type, about["category_ids"].values())} <= {int},
        "batch": about["batch"] is None or _count(about["batch"]),
        "proposals": regions is None or (regions["mode"] in ("fast", "quality") and _count(regions["most"])),
        "precision": about["precision"] in ("fp32", "fp16", "bf16", "int8"),
        "kind": about["kind"] in ("uint8", "normalised", "picture"),
        "bucket": about["bucket"] in ("coarse", "exact32", "exact"),
        "resize": about["resize"] in ("bilinear", "pillow"),
        "mean": _numbers(about["mean"], channels),
        "std": _numbers(about["std"], channels) and min(about["std"]) > 0,
        "range": limits is None or (_numbers(limits, 2) and limits[0] < limits[1]),
    } | {key: _count(about[key]) for key in ("short", "long", "channels", "max_pixels")}
    if wrong := [key for key, fine in right.items() if not fine]:
        raise ValueError(f"{wrong[0]} is {json.dumps(about[wrong[0]])[:60]}")


def _numbers(values: Any, count: int | None = None) -> bool:
    numbers = isinstance(values, list) and all(type(one) in (int, float) and math.isfinite(one) for one in values)
    return numbers and len(values) == (len(values) if count is None else count)


def _count(value: Any) -> bool:
    return type(value) is int and value > 0


def _onnxruntime(library: Any, path: Path, threads: int | None, precision: str | None) -> Engine:
    if precision == "bf16":
        raise ModelFileError(f"{path}: ONNX Runtime has no bf16 for processors; leave it out, or export for openvino")
    options = library.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, threads or 0
    session = library.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    metadata = described(path, session.get_modelmeta().custom_metadata_map.get("rcnn"))
    inputs, outputs = {one.name for one in session.get_inputs()}, [one.name for one in session.get_outputs()]
    run: Infer = lambda arrays: dict(zip(outputs, session.run(outputs, dict(arrays)), strict=True))  # noqa: E731
    return Engine(path, metadata, inputs, run, outputs)


@cache
def openvino_core(library: Any) -> Any:
    """The only one of this process: each lends its thread a stack for signals, and of two the wrong one would stay."""
    return library.Core()


def _openvino(library: Any, path: Path, threads: int | None, precision: str | None) -> Engine:
    with path.open("rb") as file:
        if b"<net" not in file.read(1000):  # OpenVINO would try whether it is any other format
            raise ModelFileError(f"{path}: no model of OpenVINO; give a file that rcnn export wrote")
    model = (core := openvino_core(library)).read_model(path)
    metadata = described(path, model.get_rt_info("rcnn").astype(str) if model.has_rt_info("rcnn") else None)
    able = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and not able:
        raise ModelFileError(f"{path}: this processor has no bf16; leave the precision out")
    hint = "bf16" if able and (precision or metadata["precision"]) == "bf16" else "f32"  # untold it takes any bf16
    config = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    config["INFERENCE_NUM_THREADS"] = f"{threads or 0}"  # 0: as many as it likes
    request, lock = core.compile_model(model, "CPU", config).create_infer_request(), Lock()

    def infer(arrays: Arrays) -> dict[str, np.ndarray]:
        with lock:  # the request holds its arrays
            return {output.any_name: np.array(array) for output, array in request.infer(dict(arrays)).items()}

    inputs, outputs = {one.any_name for one in model.inputs}, [name for one in model.outputs for name in one.names]
    return Engine(path, metadata, inputs, infer, outputs)


ENGINES = {".onnx": ("onnxruntime", _onnxruntime), ".xml": ("openvino", _openvino)}
"""By a file's suffix: the package, and what starts it."""


def _line(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join((str(error) or type(error).__name__).split())[:300]


def load(path: str | Path, threads: int | None = None, precision: str | None = None) -> "Detector":
    """A detector from the file of `rcnn export`; the arguments, and what it raises, are those of `open_engine`."""
    return Detector(open_engine(path, threads, precision))


class Detector:
    """Finds objects in pictures: decodes them, lays them out, runs the engine, reads its answer."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.input = engine, engine.input
        self.class_names: tuple[str, ...] = tuple(engine.metadata["class_names"])
        self.thresholds: dict[str, float | None] = dict(engine.metadata["thresholds"])
        """Class name to the score from which it is shown; empty where none were stored."""

    def predict(
        self,
        pictures: Picture | Iterable[Picture],
        batch: int = 1,
        score: float | None = None,
        proposals: Iterable[np.ndarray] | None = None,
    ) -> Iterator[Detections]:
        """The detections of each picture in turn, from `score` on, or from the stored thresholds, `batch` at a time.

        Methods without an RPN want `proposals`: for each picture its regions [P, 4], in its own pixels. Raises
        PictureError at a picture that cannot be used.
        """
        if proposals is None and self.engine.metadata["proposals"]:
            raise ModelFileError(f"{self.engine.path}: its method makes no proposals; give those of each picture")
        sources = [pictures] if isinstance(pictures, str | Path | np.ndarray) else pictures
        pairs = zip(sources, repeat(_NONE) if proposals is None else proposals, strict=proposals is not None)
        while chunk := list(islice(pairs, max(1, batch))):
            yield from self._chunk([(self._read(picture), regions) for picture, regions in chunk], score)

    def _read(self, picture: Picture) -> np.ndarray:
        about = self.input
        array = picture if isinstance(picture, np.ndarray) else read(picture, about.channels, about.max_pixels)
        if array.ndim != 3 or array.shape[2] != about.channels or not array.size:
            raise PictureError(f"a picture is {array.shape}; give height x width x {about.channels} channels")
        return array

    def _chunk(self, pairs: Sequence[tuple[np.ndarray, np.ndarray]], score: float | None) -> list[Detections]:
        """Pictures that share a canvas go through the graph together."""
        groups: dict[Any, list[int]] = {}
        for place, (picture, _) in enumerate(pairs):
            canvas = self.input.canvas(self.input.resized(_size(picture)))
            groups.setdefault(place if self.input.kind == "picture" else canvas, []).append(place)
        found: dict[int, Detections] = {}
        for places in groups.values():
            output = self.engine.run(**self._laid_out(*zip(*(pairs[place] for place in places), strict=True)))
            for row, place in enumerate(places):
                found[place] = self._above({name: array[row] for name, array in output.items()}, score)
        return [found[place] for place in range(len(pairs))]

    def _laid_out(self, pictures: Sequence[np.ndarray], regions: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The inputs of a graph, for pictures of one canvas."""
        shown = [self.input.numbers(picture) for picture in pictures]
        if self.input.kind == "picture":
            return {"images": shown[0]}
        images = np.zeros((len(shown), *self.input.canvas(_size(shown[0])), self.input.channels), shown[0].dtype)
        for canvas, numbers in zip(images, shown, strict=True):
            canvas[: len(numbers), : numbers.shape[1]] = numbers
        if self.input.kind == "normalised":
            images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        sizes, originals = (np.array([_size(one) for one in all], np.int64) for all in (shown, pictures))
        arrays = {"images": images, "sizes": sizes, "original_sizes": originals}
        if self.engine.metadata["proposals"]:
            boxes = np.zeros((len(shown), max(1, *map(len, regions)), 4), np.float32)
            valid = np.zeros(boxes.shape[:2], bool)
            for place, rows in enumerate(regions):
                boxes[place, : len(rows)] = rows * (sizes[place] / originals[place])[[1, 0, 1, 0]]
                valid[place, : len(rows)] = True
            arrays |= {"proposals": boxes, "proposals_valid": valid}
        return arrays

    def _above(self, one: Arrays, score: float | None) -> Detections:
        """The detections of a picture that are shown."""
        boxes, scores, labels = (one[name][: int(one["count"])] for name in ("boxes", "scores", "labels"))
        stored = (self.thresholds.get(name) for name in self.class_names)
        least = np.array([score if score is not None else SHOWN if own is None else own for own in stored], np.float32)
        kept = scores >= least[labels - 1]
        return Detections(boxes[kept], scores[kept], labels[kept], [self.class_names[n - 1] for n in labels[kept]])
