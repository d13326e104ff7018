"""The CPU kernel of `nms`: each box is held against the kept boxes of its own group only."""

from typing import no_type_check

import numpy as np
import torch
from torch import Tensor

from rcnn.compiled import compiled


def nms_numba(
    boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, threshold: float, k: int
) -> tuple[Tensor, Tensor]:
    """`rcnn.ops.nms` for tensors on the CPU; same arguments, same answer as `nms_reference`."""
    if boxes.shape != (*scores.shape, 4) or {groups.shape, valid.shape} != {scores.shape} or valid.dtype != torch.bool:
        raise ValueError("boxes, scores, groups and validity are not those of the same boxes")
    counted = valid & scores.isfinite()
    ranked = torch.where(counted, scores, -torch.inf)
    groups = torch.where(counted, groups, 0)  # an empty place may hold any number
    if groups.numel() and int(groups.min()) < 0:
        raise ValueError("a group below 0")
    order = ranked.argsort(dim=1, descending=True, stable=True)
    counts = counted.sum(dim=1)
    group_count = int(groups.max()) + 1 if groups.numel() else 0
    kept = torch.zeros(boxes.shape[0], k, dtype=torch.int64)
    filled = torch.zeros(boxes.shape[0], dtype=torch.int64)
    arrays = (boxes.contiguous(), groups.contiguous(), order, counts, kept, filled)
    compiled(_suppress)(*(a.numpy() for a in arrays), np.float32(threshold), group_count)
    return kept, torch.arange(k) < filled[:, None]


@no_type_check  # shape checks at run time wrap every annotated function, and Numba compiles no wrapper
def _suppress(
    boxes: np.ndarray,  # [B, N, 4] float32
    groups: np.ndarray,  # [B, N] int64, 0 <= group < group_count
    order: np.ndarray,  # [B, N] int64, best first
    counts: np.ndarray,  # [B] int64, how many of them take part
    kept: np.ndarray,  # [B, k] int64, written
    filled: np.ndarray,  # [B] int64, written
    threshold: np.float32,
    group_count: int,
) -> None:
    zero = np.float32(0)
    newest = np.empty(group_count, np.int64)  # place in `kept` of the newest box of a group, and from each
    before = np.empty(kept.shape[1], np.int64)  # place to the one before it: the kept boxes of a group as a list
    for b in range(boxes.shape[0]):
        newest[:] = -1
        n = 0
        for rank in range(counts[b]):
            if n == kept.shape[1]:
                break
            i = order[b, rank]
            x1, y1, x2, y2 = boxes[b, i]
            area = (x2 - x1) * (y2 - y1)
            place = newest[groups[b, i]]
            while place >= 0:
                u1, v1, u2, v2 = boxes[b, kept[b, place]]
                w = max(min(x2, u2) - max(x1, u1), zero)
                h = max(min(y2, v2) - max(y1, v1), zero)
                common = w * h
                union = (u2 - u1) * (v2 - v1) + area - common
                if union > zero and common / union > threshold:
                    break
                place = before[place]
            if place < 0:
                kept[b, n] = i
                before[n] = newest[groups[b, i]]
                newest[groups[b, i]] = n
                n += 1
        filled[b] = n
