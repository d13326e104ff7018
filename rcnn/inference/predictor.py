"""A trained model and all that belongs to it, ready for pictures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from rcnn.data.picture import MAX_PIXELS, resolve
from rcnn.data.preprocess import Preprocess, Size, lay_out
from rcnn.errors import ConfigError, DataError
from rcnn.sample import Picture
from rcnn.structures import Batch, Detections, PaddedDetections, to_device, unpad

Source = Picture
"""A file, an RGB array of height x width x 3, or a function that makes one."""


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
    ) -> None:
        self.model = model.to(device).eval()
        self.preprocess = preprocess
        self.class_names = tuple(class_names)
        self.device = torch.device(device)
        self.bf16 = bf16
        self.max_pixels = max_pixels
        self.category_ids = dict(category_ids or {})
        """Class name to its number in the COCO file that the model was trained on; empty for other data."""
        self.incomplete = 0
        """Pictures so far whose detections the cap on candidates may have changed."""

    def predict(self, pictures: Source | Iterable[Source], batch: int = 1, score: float = 0.0) -> Iterator[Detections]:
        """The detections of each picture in turn, those of a score of at least `score`, `batch` pictures at a time.

        Raises DataError at a picture that cannot be read.
        """
        for found in self.predict_each(pictures, batch, score):
            if isinstance(found, DataError):
                raise found
            yield found

    def predict_each(
        self, pictures: Source | Iterable[Source], batch: int = 1, score: float = 0.0
    ) -> Iterator[Detections | DataError]:
        """Like `predict`, but a picture that cannot be read gives its error in its place, and the rest is done."""
        if batch < 1:
            raise ConfigError(f"batch: is {batch}; give 1 or more pictures at a time")
        sources = iter([pictures] if isinstance(pictures, str | Path | np.ndarray) or callable(pictures) else pictures)
        while chunk := list(islice(sources, batch)):
            for found in self._chunk([self._read(source) for source in chunk]):
                yield found if isinstance(found, DataError) else found.above(score)

    @torch.inference_mode()
    def detect(self, batch: Batch) -> PaddedDetections:
        """The detections of a batch that is laid out already."""
        self.model.eval()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return self.model(to_device(batch, self.device))

    def _read(self, source: Source) -> UInt8[np.ndarray, "H W 3"] | DataError:
        try:
            return resolve(Path(source) if isinstance(source, str) else source, self.max_pixels)
        except DataError as error:
            return error

    def _chunk(self, pictures: Sequence[np.ndarray | DataError]) -> list[Detections | DataError]:
        """Pictures that share a canvas go through the network together."""
        groups: dict[Size, list[int]] = {}
        for place, picture in enumerate(pictures):
            if isinstance(picture, np.ndarray):
                groups.setdefault(self.preprocess.canvas(self.preprocess.resized(_size(picture))), []).append(place)
        found: list[Detections | DataError] = [p if isinstance(p, DataError) else _nothing() for p in pictures]
        for canvas, places in groups.items():
            members = [picture for place in places if isinstance(picture := pictures[place], np.ndarray)]
            for place, detections in zip(places, self._together(members, canvas), strict=True):
                found[place] = detections
        return found

    def _together(self, pictures: Sequence[np.ndarray], canvas: Size) -> list[Detections]:
        images = [self.preprocess.prepare(p, self.preprocess.resized(_size(p))) for p in pictures]
        batch = lay_out(images, [_size(p) for p in pictures], canvas, len(pictures))
        padded = self.detect(batch)
        self.incomplete += int((~padded.complete).sum())
        return unpad(padded, self.class_names)


def _size(picture: np.ndarray) -> Size:
    return picture.shape[0], picture.shape[1]


def _nothing() -> Detections:
    return Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), ())
