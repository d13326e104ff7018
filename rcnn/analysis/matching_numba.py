"""The loops of matching, as machine code: pictures times detections times objects, without a table of overlaps."""

from typing import no_type_check

import numpy as np


@no_type_check  # shape checks at run time wrap every annotated function, and Numba compiles no wrapper
def assign(
    found_starts: np.ndarray,  # [pictures + 1] the first detection of each picture; best first within it
    truth_starts: np.ndarray,  # [pictures + 1] the same of objects; those that count come first within it
    boxes: np.ndarray,  # [D, 4]
    labels: np.ndarray,  # [D]
    true_boxes: np.ndarray,  # [G, 4]
    true_labels: np.ndarray,  # [G]
    counts: np.ndarray,  # [G] bool
    crowd: np.ndarray,  # [G] bool
    threshold: float,
    by_class: bool,  # else any class may take any object; at equal overlap its own
    taken: np.ndarray,  # [D] int64, written: the row of the object
) -> None:
    free = np.ones(len(true_labels), np.bool_)
    for p in range(len(found_starts) - 1):
        for d in range(found_starts[p], found_starts[p + 1]):
            best, best_same, least = -1, False, threshold
            x1, y1, x2, y2 = boxes[d]
            area = (x2 - x1) * (y2 - y1)
            for g in range(truth_starts[p], truth_starts[p + 1]):
                same = labels[d] == true_labels[g]
                if (by_class and not same) or not (free[g] or crowd[g]):
                    continue
                if best >= 0 and counts[best] and not counts[g]:
                    break  # what counts goes before what does not, however much that overlaps
                u1, v1, u2, v2 = true_boxes[g]
                common = max(min(x2, u2) - max(x1, u1), 0.0) * max(min(y2, v2) - max(y1, v1), 0.0)
                union = area if crowd[g] else area + (u2 - u1) * (v2 - v1) - common
                iou = common / union if union > 0 else 0.0
                if iou < least or (best_same and not same and iou == least):
                    continue  # equal overlap: the later of them, as COCO's programs have it
                best, best_same, least = g, same, iou
            if best >= 0:
                taken[d] = best
                free[best] = False


@no_type_check
def best_overlaps(
    found_starts: np.ndarray,
    truth_starts: np.ndarray,
    boxes: np.ndarray,  # [D, 4]
    labels: np.ndarray,  # [D]
    true_boxes: np.ndarray,  # [G, 4]
    true_labels: np.ndarray,  # [G]
    counts: np.ndarray,  # [G] bool
    crowd: np.ndarray,  # [G] bool
    rows: np.ndarray,  # [3, D] int64, written: the object of the same class, of another, one that does not count; or -1
    ious: np.ndarray,  # [3, D] written
) -> None:
    for p in range(len(found_starts) - 1):
        for d in range(found_starts[p], found_starts[p + 1]):
            x1, y1, x2, y2 = boxes[d]
            area = (x2 - x1) * (y2 - y1)
            for g in range(truth_starts[p], truth_starts[p + 1]):
                u1, v1, u2, v2 = true_boxes[g]
                common = max(min(x2, u2) - max(x1, u1), 0.0) * max(min(y2, v2) - max(y1, v1), 0.0)
                if common <= 0:
                    continue
                union = area if crowd[g] else area + (u2 - u1) * (v2 - v1) - common
                iou = common / union
                kind = 2 if not counts[g] else 0 if labels[d] == true_labels[g] else 1
                if iou > ious[kind, d]:
                    ious[kind, d] = iou
                    rows[kind, d] = g
