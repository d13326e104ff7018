"""What training sees of a data set: its batches as they reach the network, drawn with their objects."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from rcnn import build
from rcnn.api.data import Data, read_data, split
from rcnn.config import Config
from rcnn.data import Format, Policy
from rcnn.data.loader import Batches
from rcnn.data.raw import RawBatch
from rcnn.inference.draw import contact_sheet, draw_objects
from rcnn.structures import Targets

COLUMNS = 4
SIDE = 360
"""Smaller pictures are enlarged to so many pixels, so that names can be read."""


def look(
    data: Data,
    config: Config,
    count: int = 16,
    epoch: int = 1,
    train_split: str = "train",
    bad_boxes: Policy = "fail",
    format: Format | None = None,
) -> Image.Image:
    """The first `count` pictures of an epoch on one sheet, each on its canvas, with what there is to learn.

    Raises ConfigError or DataError for what is wrong in the settings or the data.
    """
    build.refuse(config)
    dataset = read_data(data, bad_boxes, format, config.input.max_pixels, config.input.channels)
    samples = split(dataset, train_split, "--train-split NAME")
    batches = build.batches(config, samples, dataset.class_names)
    batches.sampler.mosaic_epochs = config.training.augment.mosaic_until * config.training.epochs
    drawn = islice(drawn_pictures(batches, dataset.class_names, epoch), count)
    return contact_sheet(list(drawn), COLUMNS)


def drawn_pictures(batches: Batches, class_names: Sequence[str], epoch: int) -> Iterator[Image.Image]:
    """The pictures of an epoch as the network gets them, its numbers turned into colours again."""
    preprocess = batches.sampler.preprocess
    for item in batches.epoch(epoch):
        assert not isinstance(item.batch, RawBatch)
        for place in range(len(item.indices)):
            picture = shown(item.batch.images[place], preprocess.mean, preprocess.std)
            names, labels, boxes = _objects(item.targets, place, class_names)
            yield draw_objects(picture, names, labels, boxes, max(1.0, SIDE / max(picture.shape[:2])))


def shown(image: Float[Tensor, "C H W"], mean: Sequence[float], std: Sequence[float]) -> UInt8[np.ndarray, "H W 3"]:
    """A normalised image in colours; of one with other channels than three the first, as often as need be."""
    numbers = image.permute(1, 2, 0).numpy() * np.array(std, np.float32) + np.array(mean, np.float32)
    levels = np.clip(np.round(numbers * 255), 0, 255).astype(np.uint8)
    return levels[..., :3] if levels.shape[-1] >= 3 else np.repeat(levels[..., :1], 3, axis=2)


def _objects(
    targets: Targets, place: int, class_names: Sequence[str]
) -> tuple[list[str], list[int], list[list[float]]]:
    """What is written at each object, its label and its box."""
    kept = targets.valid[place]
    labels, weights = targets.labels[place][kept].tolist(), targets.weight[place][kept].tolist()
    crowds, difficult = targets.crowd[place][kept].tolist(), targets.difficult[place][kept].tolist()
    names = []
    for label, weight, crowd, hard in zip(labels, weights, crowds, difficult, strict=True):
        notes = [word for word, one in (("crowd", crowd), ("difficult", hard), (f"x{weight:g}", weight != 1)) if one]
        names.append(" ".join([class_names[label - 1], *notes]))
    return names, labels, targets.boxes[place][kept].tolist()
