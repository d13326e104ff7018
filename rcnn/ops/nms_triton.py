"""The GPU kernel of `nms`: who strikes whom as bits, all at once; then each picture's blocks of 64 in turn.

Boxes lie by group, and by score within it, so that a block is held against the few blocks of its own groups alone.
Everything has the shape that its input has: nothing waits for the host, and a CUDA graph can hold it.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = tl.constexpr(64)
"""Boxes whose bits fill one word."""
NOBODY = tl.constexpr(2**31 - 1)
"""The group of boxes that take no part."""


def nms_triton(
    boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, threshold: float, k: int
) -> tuple[Tensor, Tensor]:
    """`rcnn.ops.nms` for tensors on a GPU; same arguments, same answer as `nms_reference`."""
    count, counted = scores.shape[1], valid & scores.isfinite()
    by_score = torch.where(counted, scores, -torch.inf).argsort(dim=1, descending=True, stable=True)
    ranked = torch.where(counted, groups, NOBODY.value).gather(1, by_score)
    group, rank = ranked.sort(dim=1, stable=True)  # a place's rank is its own among all boxes of its picture
    place = by_score.gather(1, rank)
    real = torch.where(counted[..., None], boxes, 0)  # other places may hold anything
    corners = real.gather(1, place[..., None].expand(-1, -1, 4)).transpose(1, 2).contiguous()  # [B, 4, N]
    kept = _kept(corners, group.to(torch.int32), threshold)
    best = torch.where(kept, rank, count).sort(dim=1).values[:, :k]
    best = torch.nn.functional.pad(best, (0, k - best.shape[1]), value=count)
    filled = best < count
    first = torch.nn.functional.pad(by_score, (0, 1))  # a box for places that are not filled
    return torch.where(filled, first.gather(1, best), 0), filled


def _kept(corners: Tensor, group: Tensor, threshold: float) -> Tensor:
    """Which boxes no better one strikes, [B, N]."""
    pictures, _, count = corners.shape
    words = triton.cdiv(count, BLOCK.value)
    kept = torch.zeros(pictures, count, dtype=torch.bool, device=corners.device)
    if kept.numel() == 0:
        return kept
    strikes = torch.empty(pictures, count, words, dtype=torch.int64, device=corners.device)
    room = triton.next_power_of_2(words)
    with torch.cuda.device_of(corners):  # Triton launches on the current one
        # Each difference, product and quotient rounds by itself, as the reference's do.
        _strike[(words, words, pictures)](corners, group, strikes, count, words, threshold, enable_fp_fusion=False)
        _resolve[(pictures,)](group, strikes, kept.view(torch.int8), count, words, room, num_warps=warps(room))
    return kept


def warps(room: int) -> int:
    """How many warps resolve a picture of so many words, so that registers hold 64 rows of them, up to 512 words."""
    return min(32, max(4, room // 32))


@triton.jit
def _strike(corners, group, strikes, count, words, threshold):
    """Bit j of `strikes[b, i, word]`: whether box i, if it is kept, strikes the j-th box of block `word`."""
    row, word, b = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    if word < row:
        return
    lane = tl.arange(0, BLOCK)
    i, j = row * BLOCK + lane, word * BLOCK + lane
    gi = tl.load(group + b * count + i, i < count, -1)
    gj = tl.load(group + b * count + j, j < count, -2)
    bits = tl.zeros((BLOCK,), tl.int64)
    if tl.max(gi, 0) >= tl.load(group + b * count + word * BLOCK):  # else all of the later block's groups are others
        x = corners + b * 4 * count
        x1, y1 = tl.load(x + i, i < count, 0.0), tl.load(x + count + i, i < count, 0.0)
        x2, y2 = tl.load(x + 2 * count + i, i < count, 0.0), tl.load(x + 3 * count + i, i < count, 0.0)
        u1, v1 = tl.load(x + j, j < count, 0.0), tl.load(x + count + j, j < count, 0.0)
        u2, v2 = tl.load(x + 2 * count + j, j < count, 0.0), tl.load(x + 3 * count + j, j < count, 0.0)
        w = tl.minimum(x2[:, None], u2[None]) - tl.maximum(x1[:, None], u1[None])
        h = tl.minimum(y2[:, None], v2[None]) - tl.maximum(y1[:, None], v1[None])
        common = tl.maximum(w, 0.0) * tl.maximum(h, 0.0)
        union = ((x2 - x1) * (y2 - y1))[:, None] + ((u2 - u1) * (v2 - v1))[None] - common
        over = tl.where(union > 0, tl.math.div_rn(common, tl.where(union > 0, union, 1.0)), 0.0) > threshold
        struck = over & (gi[:, None] == gj[None]) & (i[:, None] < j[None])
        bits = tl.sum(struck.to(tl.int64) << lane[None].to(tl.int64), 1)
    tl.store(strikes + (b * count + i) * words + word, bits, i < count)


@triton.jit
def _either(a, b):
    return a | b


@triton.jit
def _resolve(group, strikes, kept, count, words: tl.constexpr, room: tl.constexpr):
    """Block after block: who is alive, who of the block strikes another of it, whom the kept ones strike later."""
    b, lane, word = tl.program_id(0), tl.arange(0, BLOCK), tl.arange(0, room)
    gone = tl.zeros((room,), tl.int64)  # a bit a box
    for block in range(words):
        i = block * BLOCK + lane
        own = tl.sum(tl.where(word == block, gone, 0), 0)
        takes_part = tl.load(group + b * count + i, i < count, NOBODY) != NOBODY
        alive = takes_part & (((own >> lane.to(tl.int64)) & 1) == 0)
        rows = strikes + (b * count + i) * words
        inner = ((tl.load(rows + block, i < count, 0)[:, None] >> lane[None].to(tl.int64)) & 1).to(tl.int32)  # [i, j]
        left, changed = alive.to(tl.int32), 1
        while changed > 0:  # until nobody kept strikes anybody kept: at most as often as one strikes one in a row
            struck = tl.max(inner * left[:, None], 0)
            again = tl.where(alive & (struck == 0), 1, 0)
            changed = tl.max(tl.abs(again - left), 0)
            left = again
        tl.store(kept + b * count + i, left.to(tl.int8), i < count)
        later = (i[:, None] < count) & (left[:, None] > 0) & (word[None] > block) & (word[None] < words)
        gone = gone | tl.reduce(tl.load(rows[:, None] + word[None], later, 0), 0, _either)
