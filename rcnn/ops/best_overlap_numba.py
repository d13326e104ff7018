"""The CPU kernel of `best_overlap`: what lies side by side is looked at together, and passed over together."""

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rcnn.compiled import compiled
from rcnn.threads import together

RUN = 128
"""Candidates that are held against a box together, if it meets the rectangle around them: anchors come row by row."""
SMALL = 2**20
"""Pairs of candidate and box up to which a second thread costs more than it gives."""


def best_overlap_numba(
    candidates: Float[Tensor, "_ N 4"],
    boxes: Float[Tensor, "B G 4"],
    teaches: Bool[Tensor, "B G"],
    skipped: Bool[Tensor, "B G"],
    usable: Bool[Tensor, "B N"] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`rcnn.ops.best_overlap` for tensors on the CPU; same arguments, same answer as `best_overlap_reference`.

    Candidates are gone through twice. The second time the highest IoU of each box is known, so that only the runs that
    hold it are looked at, to mark who has it; all else comes out as before.
    """
    dtype, shape = boxes.dtype, (boxes.shape[0], candidates.shape[1])
    boxes = boxes.to(torch.promote_types(dtype, torch.float32))  # Numba knows no half precision
    candidates, usable = candidates.to(boxes.dtype), torch.ones(shape, dtype=torch.bool) if usable is None else usable
    iou, index = boxes.new_zeros(shape), torch.zeros(shape, dtype=torch.int64)
    best, ignored = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    around = _rectangles(candidates)
    tops = boxes.new_full((around.shape[1], *boxes.shape[:2]), torch.inf)
    common = _arrays(candidates, around, boxes)
    taught, covered = _arrays(teaches, usable, iou, index, best, tops), _arrays(skipped, ignored)
    threads = torch.get_num_threads() if iou.numel() * boxes.shape[1] > SMALL else 1
    wanted = np.full(boxes.shape[:2], np.inf, taught[-1].dtype)
    scan, cover = compiled(_scan), compiled(_cover)
    together(lambda thread: scan(*common, *taught, wanted, thread, threads), threads)
    wanted = taught[-1].max(axis=0, initial=0)
    wanted[wanted == 0] = np.inf  # what nobody overlaps has no best
    together(lambda thread: scan(*common, *taught, wanted, thread, threads), threads)
    if skipped.any():
        together(lambda thread: cover(*common, *covered, thread, threads), threads)
    return iou.to(dtype), index, best, ignored


def _rectangles(candidates: Float[Tensor, "_ N 4"]) -> Float[Tensor, "_ runs 4"]:
    """Around the candidates of each run."""
    sets, count, _ = candidates.shape
    filled = torch.cat((candidates, candidates[:, -1:].expand(sets, -count % RUN if count else 0, 4)), dim=1)
    runs = filled.view(sets, -1, RUN, 4)
    low = runs[..., :2].nan_to_num(torch.inf, torch.inf, -torch.inf).amin(dim=2)  # one without a place hides no other
    high = runs[..., 2:].nan_to_num(-torch.inf, torch.inf, -torch.inf).amax(dim=2)
    return torch.cat((low, high), dim=-1)


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


@no_type_check  # shape checks at run time wrap every annotated function, and Numba compiles no wrapper
def _scan(
    candidates: np.ndarray,  # [1 or B, N, 4]
    around: np.ndarray,  # [1 or B, runs, 4]
    boxes: np.ndarray,  # [B, G, 4]
    teaches: np.ndarray,  # [B, G] bool
    usable: np.ndarray,  # [B, N] bool
    iou: np.ndarray,  # [B, N], written
    index: np.ndarray,  # [B, N] int64, written
    best: np.ndarray,  # [B, N] bool, written
    tops: np.ndarray,  # [runs, B, G], written: the highest IoU with each box within each run
    wanted: np.ndarray,  # [B, G], what a candidate must reach to be best
    thread: int,
    threads: int,
) -> None:
    zero, tiny = boxes.dtype.type(0), boxes.dtype.type(1e-9)
    for part in range(thread, tops.shape[0] * boxes.shape[0], threads):
        run, b = part // boxes.shape[0], part % boxes.shape[0]
        rows = candidates[min(b, len(candidates) - 1)]
        left, upper, right, lower = around[min(b, len(candidates) - 1), run]
        for g in range(boxes.shape[1]):
            if not teaches[b, g] or tops[run, b, g] < wanted[b, g]:
                continue
            x1, y1, x2, y2 = boxes[b, g]
            area, top = (x2 - x1) * (y2 - y1), zero
            if x1 < right and left < x2 and y1 < lower and upper < y2:
                for i in range(run * RUN, min((run + 1) * RUN, len(rows))):
                    u1, v1, u2, v2 = rows[i]
                    common = max(min(x2, u2) - max(x1, u1), zero) * max(min(y2, v2) - max(y1, v1), zero)
                    if common > zero and usable[b, i]:
                        overlap = common / max(area + (u2 - u1) * (v2 - v1) - common, tiny)
                        top = max(top, overlap)
                        if overlap > iou[b, i]:
                            iou[b, i], index[b, i] = overlap, g
                        if overlap >= wanted[b, g]:
                            best[b, i] = True
            tops[run, b, g] = top


@no_type_check
def _cover(
    candidates: np.ndarray,  # [1 or B, N, 4]
    around: np.ndarray,  # [1 or B, runs, 4]
    boxes: np.ndarray,  # [B, G, 4]
    skipped: np.ndarray,  # [B, G] bool
    ignored: np.ndarray,  # [B, N] bool, written
    thread: int,
    threads: int,
) -> None:
    zero, half = boxes.dtype.type(0), boxes.dtype.type(0.5)
    for part in range(thread, around.shape[1] * boxes.shape[0], threads):
        run, b = part // boxes.shape[0], part % boxes.shape[0]
        rows = candidates[min(b, len(candidates) - 1)]
        left, upper, right, lower = around[min(b, len(candidates) - 1), run]
        for g in range(boxes.shape[1]):
            x1, y1, x2, y2 = boxes[b, g]
            if skipped[b, g] and x1 < right and left < x2 and y1 < lower and upper < y2:
                for i in range(run * RUN, min((run + 1) * RUN, len(rows))):
                    u1, v1, u2, v2 = rows[i]
                    common = max(min(x2, u2) - max(x1, u1), zero) * max(min(y2, v2) - max(y1, v1), zero)
                    if common > zero and common >= half * (u2 - u1) * (v2 - v1):
                        ignored[b, i] = True
