"""Anchors that fit a data set better: as many as before, so that the network costs the same, of other sizes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from rcnn.api.checking.reach import Reach, Sizes

MOST_OBJECTS = 2000
"""That the search looks at."""

WIDEST = 32
"""Cells that an anchor may be wide: as many as the largest of the paper's."""

LEAST = 1e-4
"""What a step must bring, so that the search ends."""

STEPS = (1.5, 1.25, 1.1, 1.04)
"""By which a size or a ratio is made larger or smaller, as long as it helps, one after the other."""


@dataclass(frozen=True)
class Shapes:
    """Anchors as the settings `model.rpn.anchor_sizes` and `anchor_ratios` give them."""

    sizes: tuple[tuple[float, ...], ...]
    ratios: tuple[float, ...]


def better_anchors(reach: Reach, shapes: Shapes, threshold: float, seed: int = 0) -> Shapes:
    """Sizes and ratios that reach more objects, found by trying larger and smaller ones in turn.

    What is raised is the part of objects reached at `threshold` and at IoU 0.5, and their mean IoU: a third of the
    weight goes to objects, one to classes and one to octaves of size, each as much as another. The search begins at
    the present anchors and at such as the objects' own sizes and ratios suggest (k-means), and ends at whole pixels
    and hundredths.
    """
    few = _few(reach, seed)
    if not len(few.found.boxes):
        return shapes
    goal = _goal(few, threshold)
    found = [_climb(few, start, goal) for start in (shapes, _suggested(few, shapes))]
    best = max((_rounded(one) for one in found), key=lambda one: goal(few.best(one.sizes, one.ratios)))
    return best if goal(few.best(best.sizes, best.ratios)) > goal(few.best(shapes.sizes, shapes.ratios)) else shapes


def _few(reach: Reach, seed: int) -> Reach:
    """At most so many of the objects, drawn by chance."""
    count = len(reach.found.boxes)
    if count <= MOST_OBJECTS:
        return reach
    rows = np.sort(np.random.default_rng(seed).choice(count, MOST_OBJECTS, replace=False))
    return replace(reach, found=reach.found.keep(rows), steps=reach.steps[..., rows], cells=reach.cells[..., rows])


def _goal(reach: Reach, threshold: float) -> Callable[[Float[np.ndarray, "G"]], float]:
    octaves = np.log2(np.maximum(reach.found.sides, 1)).astype(int)
    weight = (_evenly(np.zeros(len(octaves))) + _evenly(np.array(reach.found.names)) + _evenly(octaves)) / 3

    def goal(best: Float[np.ndarray, "G"]) -> float:
        return float((weight * ((best >= threshold) + 1.0 * (best >= 0.5) + best)).sum())

    return goal


def _evenly(groups: np.ndarray) -> Float[np.ndarray, "G"]:
    """Weights of which every group has as much as another."""
    _, place, count = np.unique(groups, return_inverse=True, return_counts=True)
    return 1 / (len(count) * count[place])


def _suggested(reach: Reach, shapes: Shapes) -> Shapes:
    """Sizes at even parts of the objects, small ones on fine levels, and ratios around which objects gather."""
    from sklearn.cluster import KMeans

    levels, each = len(shapes.sizes), len(shapes.sizes[0])
    parts = (np.arange(levels * each) + 0.5) / (levels * each)
    sides = np.quantile(reach.found.sides, parts).reshape(levels, each)
    logs = np.log(reach.found.ratios)[:, None]
    clusters = min(len(shapes.ratios), len(np.unique(logs)))
    centres = KMeans(clusters, n_init=1, random_state=0).fit(logs).cluster_centers_.ravel()
    padded = np.concatenate([centres, np.log(shapes.ratios)[clusters:]])
    return Shapes(tuple(map(tuple, sides.tolist())), tuple(np.sort(np.exp(padded)).tolist()))


def _climb(reach: Reach, start: Shapes, goal: Callable[[Float[np.ndarray, "G"]], float]) -> Shapes:
    """Change one number at a time while that helps, in ever smaller steps."""
    caps = WIDEST * reach.steps.max(axis=(1, 2))
    shapes = Shapes(_capped(start.sizes, caps), start.ratios)
    levels = _levels(reach, shapes)
    value = goal(levels.max(axis=0))
    for step in STEPS:
        moved = True
        while moved:
            moved = False
            for level, tried in _neighbours(shapes, step):
                if tried.sizes != _capped(tried.sizes, caps):
                    continue
                overlaps = _levels(reach, tried) if level is None else levels.copy()
                if level is not None:
                    overlaps[level] = reach.of_level(level, tried.sizes[level], tried.ratios)
                if (better := goal(overlaps.max(axis=0))) > value + LEAST:
                    shapes, levels, value, moved = tried, overlaps, better, True
                    break
    return shapes


def _neighbours(shapes: Shapes, step: float) -> Iterator[tuple[int | None, Shapes]]:
    """The same with one number larger or smaller, and the level that has it, None for a ratio."""
    for factor in (step, 1 / step):
        for level, row in enumerate(shapes.sizes):
            for place in range(len(row)):
                other = (*row[:place], row[place] * factor, *row[place + 1 :])
                yield level, replace(shapes, sizes=(*shapes.sizes[:level], other, *shapes.sizes[level + 1 :]))
        for place, ratio in enumerate(shapes.ratios):
            others = (*shapes.ratios[:place], ratio * factor, *shapes.ratios[place + 1 :])
            yield None, replace(shapes, ratios=others)


def _capped(sizes: Sizes, caps: Float[np.ndarray, "L"]) -> tuple[tuple[float, ...], ...]:
    """In order from the finest level on, and none wider than a cell can know of."""
    each, ordered = len(sizes[0]), sorted(side for row in sizes for side in row)
    rows = [ordered[start : start + each] for start in range(0, len(ordered), each)]
    return tuple(tuple(min(side, float(cap)) for side in row) for row, cap in zip(rows, caps, strict=True))


def _levels(reach: Reach, shapes: Shapes) -> Float[np.ndarray, "L G"]:
    return np.stack([reach.of_level(level, sides, shapes.ratios) for level, sides in enumerate(shapes.sizes)])


def _rounded(shapes: Shapes) -> Shapes:
    """Whole pixels and hundredths, in order."""
    sizes = tuple(tuple(sorted(float(max(1, round(side))) for side in row)) for row in shapes.sizes)
    return Shapes(sizes, tuple(sorted(round(ratio, 2) for ratio in shapes.ratios)))
