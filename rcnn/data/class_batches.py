"""Batches for a classifier. All chance is keyed by seed, epoch and picture, as in `rcnn.data.loader`."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from rcnn.data.class_folders import LabelledPicture
from rcnn.data.picture import resolve
from rcnn.errors import DataError, last_line
from rcnn.structures import to_device

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green, blue in 0..1 over ImageNet: what published weights, and detectors unless told otherwise, expect."""
LEAST_AREA = 0.25
"""A random crop covers at least this part of a picture."""
MARGIN = 8 / 7
"""Pictures to measure by are resized to so many times the crop from their middle: 256 for 224."""

Draw = tuple[int, int]
"""A picture's place, and the key of its chance."""


@dataclass(frozen=True)
class LabelledBatch:
    """Pictures, their labels from 0, and their places in the data; named as in a detector's `TruthBatch`."""

    batch: Float[Tensor, "B 3 S S"]
    targets: Int[Tensor, "B"]
    indices: tuple[int, ...]

    def on(self, device: torch.device) -> tuple[Float[Tensor, "B 3 S S"], Int[Tensor, "B"]]:
        """What an objective takes, on a device."""
        return to_device((self.batch, self.targets), device)

    def pin_memory(self) -> "LabelledBatch":
        """The same in page-locked memory, for torch's loader."""
        return LabelledBatch(self.batch.pin_memory(), self.targets.pin_memory(), self.indices)


class ClassBatches:
    """Batches of square pictures of `size` pixels a side, `pinned` where they are on their way to a GPU.

    To learn from: random crops and mirror images in a random order, whole batches alone (a batch norm cannot learn
    from one picture). To measure by: the middle of each picture, in order.
    """

    def __init__(
        self,
        samples: Sequence[LabelledPicture],
        size: int,
        batch: int,
        learning: bool = True,
        seed: int = 0,
        workers: int = 0,
        pinned: bool = False,
    ) -> None:
        self.samples = samples
        self.order = _Order(samples, batch, learning, seed)
        self.loader: DataLoader[LabelledBatch] = DataLoader(
            _Pictures(samples, _varied(size) if learning else _middle(size)),  # type: ignore[arg-type]
            batch_sampler=self.order,
            collate_fn=_collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pinned,
            generator=torch.Generator(),  # else each pass draws from torch's global one
        )

    def __len__(self) -> int:
        return len(self.order)

    def epoch(self, number: int, skip: int = 0) -> Iterator[LabelledBatch]:
        """The batches of epoch `number` after the first `skip`; the same for the same seed and number."""
        self.order.epoch, self.order.skip = number, skip
        try:
            yield from self.loader
        except DataError as error:  # torch gives a worker's error its whole traceback for a message
            raise DataError(last_line(error)) from error


class _Order(Sampler[list[Draw]]):
    """Which pictures each batch holds."""

    def __init__(self, samples: Sequence[LabelledPicture], batch: int, learning: bool, seed: int) -> None:
        self.ids = [sample.id for sample in samples]
        self.batch = batch
        self.learning = learning
        self.seed = seed
        self.epoch = 1
        self.skip = 0

    def __len__(self) -> int:
        whole, rest = divmod(len(self.ids), self.batch)
        return max(whole, 1) if self.learning else whole + (rest > 0)

    def __iter__(self) -> Iterator[list[Draw]]:
        keys = [key_of(self.seed, self.epoch, name) for name in self.ids]
        draws = list(enumerate(keys))
        if self.learning:
            draws.sort(key=lambda draw: (draw[1], draw[0]))
        batches = (draws[start : start + self.batch] for start in range(0, len(draws), self.batch))
        return islice(batches, self.skip, len(self))


class _Pictures(Dataset[tuple[int, Tensor, int]]):
    def __init__(self, samples: Sequence[LabelledPicture], change: v2.Transform) -> None:
        self.samples = samples
        self.change = change

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw) -> tuple[int, Tensor, int]:
        index, key = draw
        sample = self.samples[index]
        picture = torch.tensor(resolve(sample.picture)).permute(2, 0, 1)
        with torch.random.fork_rng(devices=()):  # torchvision draws from the global generator
            torch.default_generator.manual_seed(key)
            return index, self.change(picture), sample.label


def key_of(*parts: object) -> int:
    """A number of 63 bits that follows from what is given, and from nothing else."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _collate(items: Sequence[tuple[int, Tensor, int]]) -> LabelledBatch:
    indices, pictures, labels = zip(*items, strict=True)
    return LabelledBatch(torch.stack(pictures), torch.tensor(labels), tuple(indices))


def _varied(size: int) -> v2.Transform:
    crop = v2.RandomResizedCrop(size, (LEAST_AREA, 1.0), antialias=True)
    return v2.Compose([crop, v2.RandomHorizontalFlip(), *_numbers()])


def _middle(size: int) -> v2.Transform:
    return v2.Compose([v2.Resize(round(size * MARGIN), antialias=True), v2.CenterCrop(size), *_numbers()])


def _numbers() -> list[v2.Transform]:
    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
