"""A trained model and all that belongs to it, ready for pictures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from rcnn.acceleration.convolutions import quicken
from rcnn.acceleration.dense import compile_dense
from rcnn.acceleration.graphs import Graphed, capture_on
from rcnn.backbones import settle_norms
from rcnn.data.loader import pad_proposals, readers
from rcnn.data.picture import MAX_PIXELS, resolve
from rcnn.data.preprocess import Preprocess
from rcnn.data.raw import Size, lays_out, on_device
from rcnn.errors import ConfigError, DataError
from rcnn.methods import Method
from rcnn.methods.stages import Stages, stages
from rcnn.proposals.generate import find
from rcnn.proposals.selective_search import Mode
from rcnn.sample import Picture, Pixels, Sample
from rcnn.structures import Batch, Detections, PaddedDetections, to_device, unpad
from rcnn.threads import each

Source = Picture | Sample
"""A file, an array of height x width x channels, a function that makes one, or a sample, which may bring proposals."""

SHOWN = 0.5
"""The score from which a detection is shown, unless told otherwise."""
_NO_REGIONS = np.zeros((0, 4), np.float32)


@dataclass(frozen=True)
class Proposer:
    """Selective search for a method that makes no regions itself: at most `most` a picture, in its pixels."""

    mode: Mode
    most: int
    max_pixels: int = MAX_PIXELS

    def find(self, picture: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "P 4"]:
        """The regions of a picture, best first."""
        return find(picture, self.mode, None, self.max_pixels)[: self.most]


@dataclass(frozen=True)
class _Input:
    """A picture that is read, and the regions that came with it or were found; none where the method needs none."""

    rgb: Pixels
    regions: Float[np.ndarray, "P 4"]

    @property
    def size(self) -> Size:
        return self.rgb.shape[0], self.rgb.shape[1]

    def regions_at(self, size: Size) -> Float[np.ndarray, "P 4"]:
        """The regions in pixels of the picture resized to `size`."""
        (height, width), (tall, wide) = size, self.size
        scale = np.array([width / wide, height / tall] * 2, np.float32)
        return self.regions * scale


class Detector:
    """Finds objects in pictures.

    Not a network but what surrounds one: decoding, preprocessing and class names are the model's own, so what
    goes in are pictures, and what comes out is in their pixels.
    """

    def __init__(
        self,
        model: nn.Module,
        preprocess: Preprocess,
        class_names: Sequence[str],
        device: torch.device | str = "cpu",
        bf16: bool = False,
        max_pixels: int = MAX_PIXELS,
        category_ids: Mapping[str, int] | None = None,
        proposer: Proposer | None = None,
        fills: bool = False,
        thresholds: Mapping[str, float | None] | None = None,
    ) -> None:
        self.model = model.to(device).eval()
        self.proposer = proposer
        self.preprocess = preprocess
        self.class_names = tuple(class_names)
        self.device = torch.device(device)
        self.bf16 = bf16
        self.max_pixels = max_pixels
        self.category_ids = dict(category_ids or {})
        """Class name to its number in the COCO file that the model was trained on; empty for other data."""
        self.thresholds = dict(thresholds or {})
        """Class name to the score from which it is shown; empty where `rcnn evaluate --threshold-for` set none."""
        self.incomplete = 0
        """Pictures so far whose detections the cap on candidates may have changed."""
        self.compiled = False
        self.fills = fills
        """Whether batches are filled up to a power of two: for each number of pictures something is made."""
        self._graphs: Graphed[PaddedDetections] | None = None

    def settled(self) -> "Detector":
        """This detector, whose network will not learn any more: frozen norms are multiplied into its weights.

        What then are plain convolutions are made quick ones, as those of a network are when it is built.
        """
        settle_norms(self.model)
        quicken(self.model)
        return self

    def compile(self) -> None:
        """Have torch.compile make machine code of the network's dense parts; a warning where there is no compiler.

        On a GPU the whole forward pass then runs as a CUDA graph, one for each canvas and number of pictures. The
        weights become part of the machine code: they must not change afterwards.
        """
        assert isinstance(self.model, Method)
        self.settled()
        self.compiled = compile_dense(self.model, self.device, settled=True)
        self._graphs = self._recorded()
        self.fills = self.compiled or self._graphs is not None

    def looking_at(self, preprocess: Preprocess) -> "Detector":
        """Another detector of the same network, which sees pictures in another way."""
        other = copy(self)
        other.preprocess = preprocess
        return other

    def look_with(self, model: nn.Module) -> None:
        """Take another network in place of this one, of the same classes."""
        self.model = model.eval()
        if self._graphs:
            self._graphs = None  # they hold the network that they were made of, and memory
            self._graphs = self._recorded()

    def _recorded(self) -> Graphed[PaddedDetections] | None:
        """The forward pass as graphs, on a device that records any."""
        capture = capture_on(self.device)
        return Graphed(self._forward, capture) if capture else None

    @property
    def shown(self) -> Float[Tensor, "K"]:
        """The score from which each class is shown: the stored one, or 0.5."""
        stored = [self.thresholds.get(name) for name in self.class_names]
        return torch.tensor([SHOWN if score is None else score for score in stored])

    def predict(
        self, pictures: Source | Iterable[Source], batch: int = 1, score: float | None = 0.0
    ) -> Iterator[Detections]:
        """The detections of each picture in turn, those of a score of at least `score`, `batch` pictures at a time.

        None stands for the thresholds that are stored with the model, and 0.5 for a class without one. Raises
        DataError at a picture that cannot be read.
        """
        for found in self.predict_each(pictures, batch, score):
            if isinstance(found, DataError):
                raise found
            yield found

    def predict_each(
        self, pictures: Source | Iterable[Source], batch: int = 1, score: float | None = 0.0
    ) -> Iterator[Detections | DataError]:
        """Like `predict`, but a picture that cannot be read gives its error in its place, and the rest is done."""
        if batch < 1:
            raise ConfigError(f"batch: is {batch}; give 1 or more pictures at a time")
        sources, least = iter(_listed(pictures)), self.shown if score is None else score
        while chunk := list(islice(sources, batch)):
            for found in self._chunk(self._read_all(chunk)):
                yield found if isinstance(found, DataError) else found.above(least)

    def stages(self, pictures: Source | Iterable[Source]) -> Iterator[Stages]:
        """All that the network considered in each picture in turn, by itself, on the CPU (`rcnn.methods.stages`).

        Raises DataError at a picture that cannot be read.
        """
        for source in _listed(pictures):
            one = self._read(source)
            if isinstance(one, DataError):
                raise one
            batch = self._lay_out([one], self.preprocess.canvas(self.preprocess.resized(one.size)), 1)
            yield self._stages(to_device(batch, self.device))

    @torch.inference_mode()
    def _stages(self, batch: Batch) -> Stages:
        assert isinstance(self.model, Method)
        self.model.eval()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return to_device(stages(self.model, batch), "cpu")

    @torch.inference_mode()
    def detect(self, batch: Batch) -> PaddedDetections:
        """The detections of a batch that is laid out already."""
        self.model.eval()
        return (self._graphs or self._forward)(to_device(batch, self.device))

    def _forward(self, batch: Batch) -> PaddedDetections:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return self.model(batch)

    def batch_of(self, picture: Pixels, regions: Float[np.ndarray, "P 4"] | None = None) -> Batch:
        """A picture by itself as the network takes it, with regions in its own pixels where the method needs some."""
        one = _Input(picture, _NO_REGIONS if regions is None else regions)
        return self._lay_out([one], self.preprocess.canvas(self.preprocess.resized(one.size)), 1)

    def _read_all(self, sources: Sequence[Source]) -> list[_Input | DataError]:
        """By several threads at once; where regions are searched for, one picture after another."""
        return each(self._read, sources, 1 if self.proposer else readers(map(picture_of, sources)))

    def _read(self, source: Source) -> _Input | DataError:
        """The picture, and regions in its pixels for a method that needs some."""
        try:
            rgb = resolve(picture_of(source), self.max_pixels, self.preprocess.channels)
        except DataError as error:
            return error
        if self.proposer is None:
            return _Input(rgb, _NO_REGIONS)
        given = source.proposals if isinstance(source, Sample) else None
        return _Input(rgb, self.proposer.find(rgb) if given is None else given)

    def _chunk(self, inputs: Sequence[_Input | DataError]) -> list[Detections | DataError]:
        """Pictures that share a canvas go through the network together."""
        groups: dict[Size, list[int]] = {}
        for place, one in enumerate(inputs):
            if isinstance(one, _Input):
                groups.setdefault(self.preprocess.canvas(self.preprocess.resized(one.size)), []).append(place)
        found: list[Detections | DataError] = [p if isinstance(p, DataError) else _nothing() for p in inputs]
        for canvas, places in groups.items():
            members = [one for place in places if isinstance(one := inputs[place], _Input)]
            for place, detections in zip(places, self._together(members, canvas), strict=True):
                found[place] = detections
        return found

    def _together(self, inputs: Sequence[_Input], canvas: Size) -> list[Detections]:
        count = len(inputs)
        padded = to_device(self.detect(self._lay_out(inputs, canvas, self._room(count))), "cpu")
        self.incomplete += int((~padded.complete[:count]).sum())
        return unpad(padded, self.class_names)[:count]

    def _room(self, count: int) -> int:
        """Places for so many pictures."""
        return 1 << (count - 1).bit_length() if self.fills else count

    def _lay_out(self, inputs: Sequence[_Input], canvas: Size, room: int) -> Batch:
        """The pictures on one canvas, with their regions where the method needs some, and nothing in places left."""
        sizes = [self.preprocess.resized(one.size) for one in inputs]
        pictures = [one.rgb for one in inputs]
        make = self.preprocess.pack if lays_out(self.device) else self.preprocess.lay_out
        batch = on_device(make(pictures, sizes, canvas, room), self.device)
        if self.proposer is None:
            return batch
        regions = [one.regions_at(size) for one, size in zip(inputs, sizes, strict=True)]
        return replace(batch, proposals=pad_proposals(regions, self.proposer.most, room))


def _listed(pictures: Source | Iterable[Source]) -> Iterable[Source]:
    single = isinstance(pictures, str | Path | np.ndarray | Sample) or callable(pictures)
    return [pictures] if single else pictures  # type: ignore[list-item, return-value]


def picture_of(source: Source) -> Picture:
    """The picture itself, of a sample or alone."""
    return source.picture if isinstance(source, Sample) else source


def _nothing() -> Detections:
    return Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), ())
