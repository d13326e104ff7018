"""Batches of samples. All chance is drawn here, keyed by seed, epoch and picture: neither the number of workers nor
an interruption changes what is learned."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from torch.utils.data import DataLoader, Dataset, Sampler

from rcnn.data.augment import Augment, View, moved, shape_of, vary
from rcnn.data.mosaic import mosaic
from rcnn.data.picture import MAX_PIXELS, picture_size, resolve
from rcnn.data.preprocess import Preprocess
from rcnn.data.raw import RawBatch, Size, on_device
from rcnn.errors import DataError, last_line
from rcnn.sample import Picture, Pixels, Sample
from rcnn.structures import Batch, Proposals, Targets, pinned, to_device
from rcnn.threads import each


@dataclass(frozen=True)
class Draw:
    """One picture of one batch: which, at what short side, mirrored or not, and the key of all its other chance.

    `others` are three pictures that it makes a mosaic with; mostly there are none.
    """

    index: int
    short: int
    mirrored: bool
    key: int
    others: tuple[int, ...] = ()


@dataclass(frozen=True)
class TruthBatch:
    """A batch with its truth and the samples' places in the data set."""

    batch: Batch | RawBatch
    targets: Targets
    indices: tuple[int, ...]

    def on(self, device: torch.device) -> tuple[Batch, Targets]:
        """What an objective takes, on a device."""
        return on_device(self.batch, device), to_device(self.targets, device)

    def pin_memory(self) -> "TruthBatch":
        """The same in page-locked memory: what torch's loader calls so that copies to a GPU need not wait."""
        batch = self.batch.pin_memory() if isinstance(self.batch, RawBatch) else pinned(self.batch)
        return TruthBatch(batch, pinned(self.targets), self.indices)


Drawn = tuple[Draw, Pixels, Size, Size, Sample]
"""A picture as it was drawn, the size that it shall have on its canvas, the canvas, and its sample in such pixels."""


class Samples(Dataset[Drawn]):
    """Samples as the loader asks for them: decoded, mirrored, varied, boxes along with the picture."""

    def __init__(
        self,
        samples: Sequence[Sample],
        preprocess: Preprocess,
        max_pixels: int = MAX_PIXELS,
        augment: Augment | None = None,
    ) -> None:
        self.samples = samples
        self.preprocess = preprocess
        self.max_pixels = max_pixels
        self.augment = augment or Augment(flip=0.0)
        self.varied = self.augment != Augment(self.augment.flip, self.augment.scales)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw) -> Drawn:
        return self._drawn(draw, self._read(draw.index))

    def __getitems__(self, draws: Sequence[Draw]) -> list[Drawn]:
        """Those of a batch, as torch's loader asks for them.

        Several threads decode; but one makes the variations, for torch has one generator for all threads.
        """
        places = [draw.index for draw in draws]
        pictures = each(self._read, places, readers([self.samples[place].picture for place in places]))
        return [self._drawn(draw, picture) for draw, picture in zip(draws, pictures, strict=True)]

    def _read(self, index: int) -> Pixels:
        return resolve(self.samples[index].picture, self.max_pixels, self.preprocess.channels)

    def _drawn(self, draw: Draw, picture: Pixels) -> Drawn:
        view = self._view(picture, draw.index, draw.mirrored)
        size = usual = self.preprocess.resized(shape_of(view), draw.short)
        if self.varied:
            view, size = self._variation(view, usual, draw)
        picture, sample = view
        scale = size[1] / picture.shape[1], size[0] / picture.shape[0]
        return draw, picture, size, self.preprocess.canvas(usual, draw.short), moved(sample, (0, 0), scale)

    def _view(self, picture: Pixels, index: int, mirrored: bool) -> View:
        """A picture, or its mirror image, with what is in it."""
        sample = self.samples[index]
        if not mirrored:
            return picture, sample
        width, proposals = picture.shape[1], sample.proposals
        proposals = None if proposals is None else mirror(proposals, width)
        return picture[:, ::-1], replace(sample, boxes=mirror(sample.boxes, width), proposals=proposals)

    def _variation(self, view: View, usual: Size, draw: Draw) -> tuple[View, Size]:
        """What the settings make of it, and its size on the canvas; by the picture's key alone."""
        rng, gray = np.random.default_rng(draw.key), self.preprocess.gray(view[0])
        if draw.others:
            others = ((self._read(other), other, rng.random() < self.augment.flip) for other in draw.others)
            views = [view, *(self._view(*other) for other in others)]
            sizes = [self.preprocess.resized(shape_of(one), draw.short) for one in views]
            view = mosaic(views, sizes, usual, rng, gray, self.augment.keep)
        return vary(view, usual, self.augment, rng, gray)


def readers(pictures: Iterable[Picture]) -> int:
    """How many threads may read them: one where a function of the user's makes one, which may bear no more."""
    return 1 if any(callable(picture) for picture in pictures) else torch.get_num_threads()


def mirror(boxes: Float[np.ndarray, "G 4"], width: float) -> Float[np.ndarray, "G 4"]:
    """Boxes of the picture's mirror image."""
    return np.stack((width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]), axis=1)


class EpochSampler(Sampler[list[Draw]]):
    """The batches of an epoch: each of pictures that share a canvas, in a random order if `shuffle`.

    `epoch`, and the batches to `skip` of it after an interruption, are set before each pass. Pictures with a repeat
    factor above 1 come that often, on the average of many epochs. No mosaics are made after epoch `mosaic_epochs`.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        preprocess: Preprocess,
        batch: int,
        augment: Augment | None = None,
        seed: int = 0,
        shuffle: bool = True,
        max_pixels: int = MAX_PIXELS,
        repeats: Sequence[float] | None = None,
    ) -> None:
        self.ids = [sample.id for sample in samples]
        self.sizes = [picture_size(sample.picture, max_pixels) for sample in samples]
        self.preprocess = preprocess
        self.batch = batch
        self.augment = augment or Augment(flip=0.0)
        self.seed = seed
        self.shuffle = shuffle
        self.repeats = repeats
        self.mosaic_epochs: float = math.inf
        self.epoch = 0
        self.skip = 0

    def __len__(self) -> int:
        """Batches of the present epoch; with several scales it varies a little between epochs."""
        return sum(1 for _ in self._batches())

    def __iter__(self) -> Iterator[list[Draw]]:
        return islice(self._batches(), self.skip, None)

    def _batches(self) -> Iterator[list[Draw]]:
        rows = self._rows()
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(len(rows))
            rows = [rows[place] for place in order.tolist()]
        waiting: dict[Size, list[Draw]] = {}
        for index, copy in rows:
            draw = self._draw(index, copy)
            canvas = canvas_of(self.preprocess, self.sizes[index], draw.short)
            bucket = waiting.setdefault(canvas, [])
            bucket.append(draw)
            if len(bucket) == self.batch:
                yield waiting.pop(canvas)
        yield from waiting.values()

    def _rows(self) -> list[tuple[int, int]]:
        """Which pictures come in this epoch: the place of each, and which of its repetitions it is."""
        if self.repeats is None:
            return [(index, 0) for index in range(len(self.ids))]
        lots = (_hashed(f"{self._name(index)}/repeat", 8)[0] / 2**64 for index in range(len(self.ids)))
        counts = [int(factor) + (lot < factor % 1) for factor, lot in zip(self.repeats, lots, strict=True)]
        return [(index, copy) for index, count in enumerate(counts) for copy in range(count)]

    def _draw(self, index: int, copy: int) -> Draw:
        name = f"{self._name(index)}/{copy}" if copy else self._name(index)
        key, flip, scale = _hashed(name, 24)
        scales = self.augment.scales or (self.preprocess.short,)
        mirrored, short = flip / 2**64 < self.augment.flip, scales[scale % len(scales)]
        return Draw(index, short, mirrored, key >> 1, self._others(name))

    def _others(self, name: str) -> tuple[int, ...]:
        """The pictures that one makes a mosaic with."""
        if not self.augment.mosaic or self.epoch > self.mosaic_epochs:
            return ()
        lot, *others = _hashed(f"{name}/mosaic", 32)
        return tuple(n % len(self.ids) for n in others) if lot / 2**64 < self.augment.mosaic else ()

    def _name(self, index: int) -> str:
        return f"{self.seed}/{self.epoch}/{self.ids[index]}"


def _hashed(name: str, size: int) -> list[int]:
    """Uniform numbers of 64 bits, `size` bytes of them, that follow from a name."""
    digest = hashlib.blake2b(name.encode(), digest_size=size).digest()
    return [int.from_bytes(digest[start : start + 8], "little") for start in range(0, size, 8)]


def canvas_of(preprocess: Preprocess, size: Size, short: int | None = None) -> Size:
    """The canvas of a picture of `size` before resizing."""
    return preprocess.canvas(preprocess.resized(size, short), short)


class Collate:
    """Puts pictures on their canvas, and their truth beside them; incomplete batches are filled up.

    `proposals` is the most regions from outside the network that a picture has; 0 for a method that needs none.
    `raw` leaves the pictures as they are, for a device that lays them out.
    """

    def __init__(
        self, preprocess: Preprocess, class_names: Sequence[str], batch: int, proposals: int = 0, raw: bool = False
    ) -> None:
        self.preprocess = preprocess
        self.labels = {name: number for number, name in enumerate(class_names, start=1)}
        self.batch = batch
        self.proposals = proposals
        self.raw = raw

    def __call__(self, rows: list[Drawn]) -> TruthBatch:
        draws, pictures, sizes, (canvas, *_), samples = zip(*rows, strict=True)
        proposals = pad_proposals([s.regions for s in samples], self.proposals, self.batch) if self.proposals else None
        make = self.preprocess.pack if self.raw else self.preprocess.lay_out
        batch = with_proposals(make(pictures, sizes, canvas, self.batch), proposals)
        targets = make_targets(samples, self.labels, [draw.key for draw in draws], self.batch)
        return TruthBatch(batch, targets, tuple(draw.index for draw in draws))


def make_targets(samples: Sequence[Sample], labels: dict[str, int], keys: Sequence[int], count: int) -> Targets:
    """The truth of some samples, padded to a power of two of boxes, and to `count` pictures."""
    most = max((len(sample.names) for sample in samples), default=0)
    room = max(8, 1 << (most - 1).bit_length() if most else 0)
    unit = torch.tensor([0.0, 0.0, 1.0, 1.0])
    targets = Targets(
        boxes=unit.repeat(count, room, 1),
        labels=torch.zeros(count, room, dtype=torch.int64),
        difficult=torch.zeros(count, room, dtype=torch.bool),
        crowd=torch.zeros(count, room, dtype=torch.bool),
        valid=torch.zeros(count, room, dtype=torch.bool),
        weight=torch.zeros(count, room),
        keys=torch.tensor([*keys, *([0] * (count - len(keys)))], dtype=torch.int64),
    )
    for place, sample in enumerate(samples):
        here = (place, slice(0, len(sample.names)))
        targets.boxes[here] = torch.tensor(sample.boxes)
        targets.labels[here] = torch.tensor([labels[name] for name in sample.names], dtype=torch.int64)
        targets.difficult[here] = torch.tensor(sample.difficult)
        targets.crowd[here] = torch.tensor(sample.crowd)
        targets.weight[here] = torch.tensor(sample.weight, dtype=torch.float32)
        targets.valid[here] = True
    return targets


def pad_proposals(regions: Sequence[Float[np.ndarray, "_ 4"]], most: int, count: int) -> Proposals:
    """The first `most` regions of some pictures, padded, for `count` pictures.

    They come best first, and all that is known of their scores is this order. The number of places is the least of
    eight that holds them all, so that shapes stay few and no work is done on many empty places.
    """
    step, longest = -(-most // 8), max((len(rows[:most]) for rows in regions), default=0)
    places = step * max(1, -(-longest // step))
    boxes, valid = torch.zeros(count, places, 4), torch.zeros(count, places, dtype=torch.bool)
    for place, rows in enumerate(regions):
        kept = torch.from_numpy(np.ascontiguousarray(rows[:most], np.float32))
        boxes[place, : len(kept)] = kept
        valid[place, : len(kept)] = True
    return Proposals(boxes, valid * torch.linspace(1, 0.5, places), valid)


def with_proposals(batch: Batch | RawBatch, proposals: Proposals | None) -> Batch | RawBatch:
    """A batch with its regions from outside."""
    if isinstance(batch, RawBatch):
        return replace(batch, rest=replace(batch.rest, proposals=proposals))
    return replace(batch, proposals=proposals)


class Batches:
    """The batches of a data set, epoch after epoch, prepared by `workers` processes (0: by this one)."""

    def __init__(
        self,
        samples: Sequence[Sample],
        class_names: Sequence[str],
        preprocess: Preprocess,
        batch: int,
        augment: Augment | None = None,
        seed: int = 0,
        workers: int = 0,
        shuffle: bool = True,
        max_pixels: int = MAX_PIXELS,
        proposals: int = 0,
        raw: bool = False,
        repeats: Sequence[float] | None = None,
    ) -> None:
        check_class_names(samples, class_names)
        self.samples = samples
        self.sampler = EpochSampler(samples, preprocess, batch, augment, seed, shuffle, max_pixels, repeats)
        self.loader: DataLoader[TruthBatch] = DataLoader(
            Samples(samples, preprocess, max_pixels, augment),  # type: ignore[arg-type]
            batch_sampler=self.sampler,
            collate_fn=Collate(preprocess, class_names, batch, proposals, raw),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=raw and torch.cuda.is_available(),  # raw pictures are on their way to a GPU
            generator=torch.Generator(),  # else each pass draws from torch's global one
        )

    def __len__(self) -> int:
        return len(self.sampler)

    def epoch(self, number: int, skip: int = 0) -> Iterator[TruthBatch]:
        """The batches of epoch `number` after the first `skip`; the same for the same seed and number."""
        self.sampler.epoch, self.sampler.skip = number, skip
        try:
            yield from self.loader
        except DataError as error:  # torch gives a worker's error its whole traceback for a message
            raise DataError(last_line(error)) from error


def check_class_names(samples: Sequence[Sample], class_names: Sequence[str]) -> None:
    """Raise DataError for an object whose class is not among those to be learned."""
    known = set(class_names)
    for sample in samples:
        if unknown := set(sample.names) - known:
            raise DataError(f"{sample.id}: class {sorted(unknown)[0]!r} is not among {', '.join(class_names)}")
