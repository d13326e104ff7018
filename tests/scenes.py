"""Pictures of plain boxes, and detections of them, for what is computed from both."""

import numpy as np
import torch

from rcnn.sample import Sample
from rcnn.structures import Detections

NAMES = ("cat", "dog", "bird")


def sample(boxes, names, name="p", **flags):
    return Sample(
        name, np.zeros((1, 1, 3), np.uint8), np.array(boxes, np.float32).reshape(-1, 4), tuple(names), **flags
    )


def detections(rows, names=NAMES):
    """Detections from rows of (box, score, class name)."""
    return Detections(
        torch.tensor([box for box, _, _ in rows], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([score for _, score, _ in rows], dtype=torch.float32),
        torch.tensor([names.index(name) + 1 for _, _, name in rows], dtype=torch.int64),
        names,
    )


def random_scenes(seed, pictures=8, most=25):
    """Crowds, difficult objects, equal scores and boxes, empty pictures, detections that are near or far or of another
    class."""
    rng = np.random.default_rng(seed)
    samples, found = [], []
    for picture in range(pictures):
        count = int(rng.integers(0, 8)) if picture else 0
        corner, size = rng.integers(0, 120, (count, 2)), rng.integers(8, 120, (count, 2))
        boxes = np.concatenate([corner, corner + size], axis=1).reshape(-1, 4)
        if count > 2:
            boxes[1] = boxes[0]
        names = rng.choice(NAMES, count).tolist()
        flags = {"difficult": rng.random(count) < 0.15, "crowd": rng.random(count) < 0.1}
        samples.append(
            sample(boxes, names, f"p{picture}", area=size.prod(axis=1) * rng.uniform(0.5, 1, count), **flags)
        )
        found.append(detections([_random_row(rng, boxes, names) for _ in range(int(rng.integers(0, most)))]))
    return samples, found


def _random_row(rng, boxes, names):
    score = round(float(rng.random()), 1)
    if len(boxes) and rng.random() < 0.7:
        which = int(rng.integers(len(boxes)))
        spread = rng.choice([0, 3, 12, 30])
        box = boxes[which] + rng.integers(-spread, spread + 1, 4)
        box = np.concatenate([box[:2], np.maximum(box[2:], box[:2] + 1)])
        return box.tolist(), score, names[which] if rng.random() < 0.7 else rng.choice(NAMES)
    corner = rng.integers(0, 120, 2)
    return [*corner, *(corner + rng.integers(5, 60, 2))], score, rng.choice(NAMES)
