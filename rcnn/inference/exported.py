"""Exported files as detectors like any other: the engines of `rcnn.runtime`, and torch's own, behind `Detector`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from torch import nn

from rcnn.data.preprocess import Preprocess
from rcnn.data.raw import Size
from rcnn.data.resize import resize
from rcnn.errors import ConfigError, DataError, WeightsError, first_line
from rcnn.inference.predictor import Detector, Proposer, Source
from rcnn.inference.program import open_program
from rcnn.methods.stages import Stages
from rcnn.runtime import Engine, ModelFileError, open_engine
from rcnn.runtime import resize as resize_any
from rcnn.structures import Batch, Detections, PaddedDetections

_LEVELS = np.repeat(np.arange(256, dtype=np.float32)[:, None], 3, axis=1)


def load_exported(path: Path | str, precision: str | None = None) -> "ExportedDetector":
    """A detector on the engine of an exported file, which computes on the processor, on as many cores as torch does.

    `precision` is that of the file, or bf16 where its engine and the processor can. Raises WeightsError for a file
    that cannot be used, with nothing run that is in it.
    """
    file = Path(path)
    try:
        if file.suffix.lower() == ".pt2":
            return ExportedDetector(open_program(file, precision))
        return ExportedDetector(open_engine(file, torch.get_num_threads(), precision))
    except ModelFileError as error:
        raise WeightsError(str(error)) from error


class ExportedDetector(Detector):
    """A detector whose network is an exported file: what looks inside of a network, or changes it, is refused."""

    def __init__(self, engine: Engine) -> None:
        about, seen = engine.metadata, engine.input
        regions = about["proposals"]
        super().__init__(
            ExportedNetwork(engine),
            _preprocess(engine),
            about["class_names"],
            max_pixels=seen.max_pixels,
            category_ids=about["category_ids"],
            proposer=Proposer(regions["mode"], regions["most"], seen.max_pixels) if regions else None,
            thresholds=about["thresholds"],
        )
        self.path = engine.path
        self.least = about["batch"] or 1
        self.compiled = True  # by its engine, which spreads its work over the cores

    def compile(self) -> None:
        """Raise ConfigError: its engine has compiled it."""
        raise ConfigError(f"{self.path}: its engine has compiled it already; leave --compile out")

    def predict_each(
        self, pictures: Source | Iterable[Source], batch: int = 1, score: float | None = 0.0
    ) -> Iterator[Detections | DataError]:
        """As in `Detector`; a file of a fixed batch takes at least so many, for it computes as many in any case."""
        return super().predict_each(pictures, max(batch, self.least) if batch > 0 else batch, score)

    def stages(self, pictures: Source | Iterable[Source]) -> Iterator[Stages]:
        """Raise ConfigError: only detections come out of an exported file."""
        raise ConfigError(f"{self.path}: an exported file shows detections, not stages; give the run that it came from")

    def looking_at(self, preprocess: Preprocess) -> Detector:
        """The same file for pictures of other sizes; raises ConfigError for one that resizes them itself."""
        if isinstance(preprocess, _Whole):
            raise ConfigError(
                f"{self.path}: resizes pictures itself; leave --sizes out, or export without --with-resize"
            )
        return super().looking_at(preprocess)


class ExportedNetwork(nn.Module):
    """A network that is an exported file's graph."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine

    def forward(self, batch: Batch) -> PaddedDetections:
        """What the engine finds; each place is complete, for a graph does not tell."""
        images = batch.images.numpy()
        if self.engine.input.kind != "normalised":
            images = images.transpose(0, 2, 3, 1).astype(np.uint8)
        if self.engine.input.kind == "picture":
            each = [self._run(images=image) for image in images]
            found = {name: np.concatenate([one[name] for one in each]) for name in each[0]}
        else:
            sizes = {"sizes": batch.sizes.numpy(), "original_sizes": batch.original_sizes.numpy()}
            found = self._run(images=np.ascontiguousarray(images), **sizes, **self._regions(batch))
        boxes, scores, labels, count = (torch.from_numpy(found[n]) for n in ("boxes", "scores", "labels", "count"))
        valid = torch.arange(scores.shape[1]) < count[:, None]
        return PaddedDetections(boxes, scores, labels, valid, torch.ones(len(scores), dtype=torch.bool))

    def _run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """What the graph gives; raises WeightsError where it does not get through, as that of a stranger may not."""
        try:
            found = self.engine.run(**arrays)
            self._refuse_senseless(found)
        except Exception as error:  # engines raise nearly anything
            said = (
                str(error)
                if isinstance(error, ModelFileError)
                else f"{self.engine.path}: its engine fails ({first_line(error)}); export it again"
            )
            raise WeightsError(said) from error
        return found

    def _refuse_senseless(self, found: Mapping[str, np.ndarray]) -> None:
        """Raise ModelFileError for what is no list of detections: a stranger's graph may give anything."""
        scores, labels, count = (found[name] for name in ("scores", "labels", "count"))
        whole = scores.ndim == 2 and found["boxes"].shape == (*scores.shape, 4) and labels.shape == scores.shape
        if not whole or count.shape != scores.shape[:1] or count.min() < 0 or count.max() > scores.shape[1]:
            raise ModelFileError(f"{self.engine.path}: gives no lists of detections; export it again")
        known = (labels >= 1) & (labels <= len(self.engine.metadata["class_names"]))
        if not known[np.arange(scores.shape[1]) < count[:, None]].all():
            raise ModelFileError(f"{self.engine.path}: finds classes that it does not name; export it again")

    def _regions(self, batch: Batch) -> dict[str, np.ndarray]:
        if not self.engine.metadata["proposals"]:
            return {}
        regions = batch.regions
        return {"proposals": regions.boxes.numpy(), "proposals_valid": regions.valid.numpy()}


@dataclass(frozen=True)
class _Bytes(Preprocess):
    """Canvases of whole numbers from 0 to 255, which the graph normalises."""

    def lay_out(
        self, pictures: Sequence[Shaped[np.ndarray, "_ _ C"]], sizes: Sequence[Size], canvas: Size, count: int
    ) -> Batch:
        """The batch with its pictures in bytes; raises DataError for pictures of other values."""
        packed = self.pack(pictures, sizes, canvas, count)
        images = torch.zeros(count, *canvas, self.channels)
        for place, (picture, size) in enumerate(zip(packed.pictures, sizes, strict=True)):
            images[place, : size[0], : size[1]] = torch.from_numpy(_in_bytes(picture.numpy(), size))
        return replace(packed.rest, images=images.permute(0, 3, 1, 2))


@dataclass(frozen=True)
class _Whole(_Bytes):
    """Pictures as they are, which the graph resizes."""

    def resized(self, size: Size, short: int | None = None) -> Size:
        """The picture's own size."""
        return size

    def canvas(self, resized: Size, short: int | None = None) -> Size:
        """The picture's own size."""
        return resized


def _preprocess(engine: Engine) -> Preprocess:
    seen = engine.input
    limits = (float(seen.range[0]), float(seen.range[1])) if seen.range else None
    mean, std = (tuple(map(float, values)) for values in (seen.mean, seen.std))
    about = (seen.short, seen.long, seen.bucket, mean, std, seen.resize, limits)
    return {"uint8": _Bytes, "picture": _Whole}.get(seen.kind, Preprocess)(*about)  # type: ignore[arg-type]


def _in_bytes(picture: Shaped[np.ndarray, "_ _ C"], size: Size) -> UInt8[np.ndarray, "h w C"]:
    """A picture at another size, its values rounded to the nearest."""
    if picture.dtype != np.uint8:
        raise DataError(f"a picture of {picture.dtype}: the file takes 8 bits; export it with --input normalised")
    if picture.shape[2] != 3:
        return np.rint(resize_any(picture, size)).astype(np.uint8)
    numbers = np.empty((*size, 3), np.float32)
    resize(picture, size, _LEVELS, numbers)
    return np.rint(numbers).astype(np.uint8)
