"""Several looks at each picture, mirrored and at other sizes: slower, and a little more is found."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rcnn.data.picture import resolve
from rcnn.inference.merging import joined, merged
from rcnn.inference.predictor import Detector
from rcnn.inference.ways import Views
from rcnn.sample import Picture
from rcnn.structures import Detections


def predict_views(
    detector: Detector, pictures: Iterable[Picture], views: Views, batch: int = 1, score: float | None = 0.0
) -> Iterator[Detections]:
    """The detections of each picture, those of all looks put together, in its own pixels.

    Raises DataError at a picture that cannot be read.
    """
    detectors = [at_size(detector, short) for short in views.shorts] or [detector]
    for picture in pictures:
        rgb = resolve(picture, detector.max_pixels, detector.preprocess.channels)
        looks = [rgb, np.ascontiguousarray(rgb[:, ::-1])][: 1 + views.flip]
        found: list[Detections] = []
        for one in detectors:
            plain, *flipped = one.predict(looks, batch, score)
            found += [plain, *(replace(f, boxes=mirrored(f.boxes, rgb.shape[1])) for f in flipped)]
        yield merged(joined(found, found[0].class_names), views.nms)


def at_size(detector: Detector, short: int) -> Detector:
    """The detector for pictures of another short side, the long one in the same proportion; the network is shared."""
    before = detector.preprocess
    preprocess = replace(before, short=short, long=max(short, round(before.long * short / before.short)))
    return detector.looking_at(preprocess)


def mirrored(boxes: Float[Tensor, "D 4"], width: int) -> Float[Tensor, "D 4"]:
    """Boxes of a mirror image of that width, in the picture itself."""
    return torch.stack((width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]), dim=1)
