"""The pictures that an export needs: to compare both by, to calibrate 8 bits on, and to tell what those cost."""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from rcnn.api.data import read_data, split, with_splits_of
from rcnn.api.measuring import evaluate_detector, evaluation_samples
from rcnn.data.picture import picture_size, resolve
from rcnn.data.raw import Size
from rcnn.errors import DataError
from rcnn.export.canvases import Arrays, arrays_of, in_bytes, stacked
from rcnn.export.contract import Run
from rcnn.export.feeds import CALIBRATION
from rcnn.export.pictures import made_up
from rcnn.inference.exported import ExportedNetwork, load_exported
from rcnn.inference.predictor import Detector
from rcnn.runs import RunFolder
from rcnn.sample import DataSet, Picture, Pixels, Sample

if TYPE_CHECKING:
    from rcnn.export.formats import EngineFormat
    from rcnn.export.metadata import Metadata

Kind = TypeVar("Kind")
TOGETHER = 4
"""Pictures of one canvas that are compared together."""


@dataclass(frozen=True)
class ExportInputs:
    """Pictures as a file of some kind takes them; what the detector takes for a file of kind `picture`."""

    detector: Detector
    kind: str
    run: Path | None = None
    """The folder of the run, which knows how its data was split."""

    @property
    def normalised(self) -> bool:
        """Whether the detector's own graph takes the network's numbers, not bytes."""
        return self.kind != "uint8"

    def arrays(self, picture: Picture) -> Arrays:
        """One picture laid out, with the regions that its method needs."""
        pixels = self._read(picture)
        preprocess, proposer = self.detector.preprocess, self.detector.proposer
        seen = self.detector.looking_at(preprocess if self.normalised else in_bytes(preprocess))
        regions = proposer.find(pixels) if proposer else None
        return arrays_of(seen.batch_of(pixels, regions), self.normalised)

    def given(self, picture: Picture) -> Arrays:
        """One picture as the file itself takes it."""
        return {"images": np.ascontiguousarray(self._read(picture))} if self.kind == "picture" else self.arrays(picture)

    def canvases(self, pictures: Sequence[Picture]) -> list[Arrays]:
        """Four pictures on each of two canvases; made up where there are none."""
        return [
            stacked([self.arrays(_nth(group, place)) for place in range(TOGETHER)]) for group in self.grouped(pictures)
        ]

    def grouped(self, pictures: Sequence[Picture]) -> list[list[Pixels]]:
        """The chosen pictures on the two canvases that have most of them; what is on one alone is turned or halved.

        One group alone comes out only where there is one canvas for all pictures.
        """
        chosen = self.chosen(pictures)
        groups = self._by_canvas(chosen)
        for change in (_turned, _halved):  # near-square pictures stay on their canvas when they are turned
            if len(groups) < 2:
                groups = self._by_canvas([*chosen, *(np.ascontiguousarray(change(pixels)) for pixels in chosen)])
        return groups[:2]

    def _by_canvas(self, pictures: Iterable[Pixels]) -> list[list[Pixels]]:
        groups: dict[Size, list[Pixels]] = defaultdict(list)
        for pixels in pictures:
            groups[self._canvas(_size(pixels))].append(pixels)
        return sorted(groups.values(), key=len, reverse=True)

    def chosen(self, pictures: Sequence[Picture]) -> list[Pixels]:
        """At most twice four of the pictures, or made-up ones, half of them upright."""
        if pictures:
            return [self._read(picture) for picture in pictures[: 2 * TOGETHER]]
        preprocess = self.detector.preprocess
        wide = (min(preprocess.short, preprocess.long * 3 // 4), min(preprocess.long, preprocess.short * 4 // 3))
        return [picture for size in (wide, wide[::-1]) for picture in made_up(TOGETHER, size, preprocess.channels)]

    def calibration(self, where: Path | str) -> list[Sample]:
        """Evenly chosen samples of a data set's training split; raises an error where there are none."""
        samples = split(self.data(where), "train", "--int8 DATA with a split train")
        return [samples[place] for place in np.unique(np.linspace(0, len(samples) - 1, CALIBRATION).astype(int))]

    def feeds(self, samples: Iterable[Sample], batch: int | None) -> "LaidOut":
        """Their pictures, each as a batch of its own, or `batch` different ones together.

        Where a canvas has fewer left than `batch`, its first ones come again.
        """
        pictures, together = [sample.picture for sample in samples], batch or 1
        if together == 1:
            return LaidOut(self.given, [[picture] for picture in pictures])
        groups: dict[Size, list[Picture]] = defaultdict(list)
        for picture in pictures:
            groups[self._canvas(picture_size(picture, self.detector.max_pixels))].append(picture)
        batches = [
            [_nth(group, place) for place in range(first, first + together)]
            for group in groups.values()
            for first in range(0, len(group), together)
        ]
        return LaidOut(self.given, batches)

    def data(self, where: Path | str) -> DataSet:
        """A data set, split as it was when the run was trained."""
        channels = self.detector.preprocess.channels
        dataset = read_data(where, "drop", max_pixels=self.detector.max_pixels, channels=channels)
        return with_splits_of(RunFolder(self.run), dataset) if self.run else dataset

    def _read(self, picture: Picture) -> Pixels:
        pixels = resolve(picture, self.detector.max_pixels, self.detector.preprocess.channels)
        if not self.normalised and pixels.dtype != np.uint8:
            raise DataError(f"a picture of {pixels.dtype}: the file takes 8 bits; pass --input normalised")
        return pixels

    def _canvas(self, size: Size) -> Size:
        preprocess = self.detector.preprocess
        return preprocess.canvas(preprocess.resized(size))


@dataclass(frozen=True)
class LaidOut:
    """Batches of pictures that share a canvas, laid out one at a time at each pass: together they fill the memory."""

    lay_out: Callable[[Picture], Arrays]
    batches: Sequence[Sequence[Picture]]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Arrays]:
        for pictures in self.batches:
            yield stacked([self.lay_out(picture) for picture in pictures])


def original_cases(seen: ExportInputs, pictures: Sequence[Picture]) -> tuple[list[Arrays], list[Arrays]]:
    """A picture of each canvas and a black one, as the original takes them and as a file that resizes takes them."""
    chosen = [group[0] for group in seen.grouped(pictures)]
    chosen.append(np.zeros_like(chosen[0]))
    return [seen.arrays(pixels) for pixels in chosen], [seen.given(pixels) for pixels in chosen]


class Scorer:
    """How good a model for an engine is: AP, in points, on a split of a data set."""

    def __init__(
        self,
        inputs: ExportInputs,
        form: "EngineFormat",
        metadata: "Metadata",
        evaluation: Path | str,
        name: str,
        tell: Callable[[str], object],
    ) -> None:
        self.samples = evaluation_samples(inputs.detector, inputs.data(evaluation), name, inputs.run)
        self.form, self.metadata, self.tell, self.scored = form, metadata, tell, 0

    def __call__(self, model: Any) -> float:
        """The points of a model that has all stages as outputs."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"scored{self.form.suffix}"
            self.form.write(self.form.finished(model), path, self.metadata, False)
            result, _ = evaluate_detector(load_exported(path), self.samples, batch=1)
        points, self.scored = 100 * result.metrics["AP"], self.scored + 1
        self.tell(f"model {self.scored}: AP {points:.2f} on {len(self.samples)} pictures")
        return points


def opened(path: Path) -> Run:
    """A file in its engine, as its users open it."""
    network = load_exported(path).model
    assert isinstance(network, ExportedNetwork)
    return lambda arrays: network.engine.run(**arrays)


def _size(pixels: Pixels) -> Size:
    return pixels.shape[0], pixels.shape[1]


def _turned(pixels: Pixels) -> Pixels:
    """A picture turned over its diagonal."""
    return pixels.swapaxes(0, 1)


def _halved(pixels: Pixels) -> Pixels:
    """Its left half."""
    return pixels[:, : max(1, pixels.shape[1] // 2)]


def _nth(group: Sequence[Kind], place: int) -> Kind:
    """The pictures of a group in turn, over and over."""
    return group[place % len(group)]
