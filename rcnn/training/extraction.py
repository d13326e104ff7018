"""The network's view of every region, written to disk: what SVMs and box regressors are solved from."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from rcnn.data.loader import Batches
from rcnn.heads.box_head import flat
from rcnn.methods import Method
from rcnn.sample import Sample
from rcnn.training.features import FeatureFile
from rcnn.training.regions import Regions


def with_candidates(samples: Sequence[Sample], regions: Sequence[Regions]) -> list[Sample]:
    """The samples with all candidates, proposals and then true boxes, in the place of their proposals."""
    return [replace(sample, proposals=own.boxes) for sample, own in zip(samples, regions, strict=True)]


@torch.no_grad()
def extract(
    model: Method,
    batches: Batches,
    file: FeatureFile,
    device: torch.device,
    bf16: bool,
    chunk: int = 256,
    on_picture: Callable[[int, int], None] | None = None,
) -> None:
    """Write the features of all pictures that the file has not yet; `batches` hold one picture each, in its order.

    `chunk` regions are in memory at once. `on_picture` hears how many pictures are done, of how many.
    """
    model.eval()
    begin = int(file.done.sum())  # pictures are written in order
    width = file.all_pooled.shape[1]  # 0 where no regressors are asked for
    began = time.perf_counter()
    for picture, item in enumerate(batches.epoch(0, begin), start=begin):
        batch, _ = item.on(device)
        images, boxes = batch.images, batch.regions.boxes
        rows = torch.from_numpy(file.pooled_rows(picture)).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            parts = list(_described(model, images, boxes[:, : len(file.vectors(picture))], rows, width, chunk))
        vectors, pooled = (torch.cat(part).float().cpu().numpy() for part in zip(*parts, strict=True))
        now = time.perf_counter()
        file.write(picture, vectors, pooled, now - began)
        began = now
        if on_picture:
            on_picture(picture + 1, len(file))


def _described(
    model: Method, images: Tensor, boxes: Float[Tensor, "1 P 4"], rows: Tensor, width: int, chunk: int
) -> Iterator[tuple[Float[Tensor, "n D"], Float[Tensor, "m E"]]]:
    """Chunk by chunk: the vectors of all regions, and of those among `rows` the first `width` pooled features."""
    features = model.features(images)
    for start in range(0, max(1, boxes.shape[1]), chunk):
        pooled = model.describe(features, boxes[:, start : start + chunk])
        own = rows[(rows >= start) & (rows < start + chunk)] - start
        yield model.head.vectors(pooled), flat(pooled[own])[:, :width]
