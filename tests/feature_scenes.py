"""Pictures of which only the regions exist, and features that tell their classes apart."""

import numpy as np
from oracles import boxes_in, loop_iou

from rcnn.training.feature_plan import FeaturePlan
from rcnn.training.features import FeatureFile
from rcnn.training.regions import Regions


def regions_in(proposals=30, objects=(1, 2), classes=2, seed=0, difficult=(), near=4):
    """Random proposals, `near` of them around each object, then the objects: a class number each."""
    rng = np.random.default_rng(seed)
    truth = boxes_in(len(objects), side=200, seed=1000 + seed).numpy()
    around = truth.repeat(near, 0)
    around = around + rng.uniform(-0.08, 0.08, around.shape) * np.tile(around[:, 2:] - around[:, :2], 2)
    boxes = np.concatenate((boxes_in(proposals, side=200, seed=seed).numpy(), around, truth)).astype(np.float32)
    overlaps = np.zeros((len(boxes), classes), np.float32)
    for box, label in zip(truth.tolist(), objects, strict=True):
        found = [loop_iou(other, box) for other in boxes.tolist()]
        overlaps[:, label - 1] = np.maximum(overlaps[:, label - 1], found)
    labels = np.concatenate((np.zeros(len(boxes) - len(objects), np.int32), np.array(objects, np.int32)))
    hard = np.zeros(len(boxes), bool)
    hard[[len(boxes) - len(objects) + place for place in difficult]] = True
    return Regions(boxes, overlaps, labels, hard)


def vectors_of(regions, width=12, seed=0, noise=1.0):
    """Noise, and in the column of each class how much a region overlaps it: no class is quite separable."""
    rng = np.random.default_rng([seed, 7])
    vectors = noise * rng.normal(size=(len(regions), width)).astype(np.float32)
    vectors[:, : regions.overlaps.shape[1]] += 2 * regions.overlaps
    return vectors


def filled_file(path, pictures, width=12, pooled_width=0, dtype="float32", key="a", **options):
    """A file of features with all pictures written; the pooled features are vectors of another seed."""
    file = FeatureFile(path, FeaturePlan(pictures, key, width, pooled_width, dtype=dtype, **options))
    for picture, regions in enumerate(pictures):
        rows = file.pooled_rows(picture)
        pooled = vectors_of(regions, max(pooled_width, regions.overlaps.shape[1]), 500 + picture)[rows, :pooled_width]
        file.write(picture, vectors_of(regions, width, picture), pooled)
    return file
