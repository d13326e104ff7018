"""Which boxes learn which object, and which of them are looked at: matching, and sampling of a fixed size."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rcnn.ops import best_overlap
from rcnn.structures import Targets, take


@dataclass(frozen=True)
class Matches:
    """What each candidate box overlaps most."""

    iou: Float[Tensor, "B N"]
    index: Int[Tensor, "B N"]
    """The true box of highest IoU; 0 where there is none."""
    best: Bool[Tensor, "B N"]
    """True where no other candidate overlaps some true box more; ties included."""
    ignored: Bool[Tensor, "B N"]
    """True where at least half of the candidate lies in a region that shall not teach: a crowd, say."""


def match(
    candidates: Float[Tensor, "_ N 4"],
    targets: Targets,
    train_difficult: bool = True,
    usable: Bool[Tensor, "B N"] | None = None,
) -> Matches:
    """Hold candidates, one set a picture or one for all, against the true boxes of each picture.

    Crowds never match; difficult objects do only if `train_difficult`. What does not match is `ignored` around.
    Candidates that are not `usable` match nothing, so that none of them is the best of an object.
    """
    skipped = targets.crowd if train_difficult else targets.crowd | targets.difficult
    teaches = targets.valid & ~skipped
    return Matches(*best_overlap(candidates, targets.boxes, teaches, targets.valid & skipped, usable))


FIRST = 2**33  # above every draw


@dataclass(frozen=True)
class Sampled:
    """A mini-batch of S candidates a picture; where fewer serve, the rest of the places are not `valid`."""

    index: Int[Tensor, "B S"]
    positive: Bool[Tensor, "B S"]
    valid: Bool[Tensor, "B S"]

    def take(self, values: Tensor) -> Tensor:
        """The sampled rows of `values`, [B, N, ...]."""
        return take(values, self.index)


def sample(
    positive: Bool[Tensor, "B N"], negative: Bool[Tensor, "B N"], draws: Int[Tensor, "B N"], count: int, fraction: float
) -> Sampled:
    """`count` candidates a picture, at most `fraction` of them positive, filled up with negatives.

    Those with the highest `draws` (from 0 to 2^32) are taken, so the same draws give the same mini-batch.
    """
    limit = min(int(count * fraction), draws.shape[1])
    count = min(count, draws.shape[1])
    lucky = torch.where(positive, draws, -1).topk(limit, dim=1)
    rank = torch.where(negative & ~positive, draws, -1)
    chosen = torch.where(lucky.values >= 0, lucky.values + FIRST, rank.gather(1, lucky.indices))
    rank = rank.scatter(1, lucky.indices, chosen)  # chosen positives come before every negative
    top = rank.topk(count, dim=1)
    return Sampled(top.indices, top.values >= FIRST, top.values >= 0)


def draws(keys: Int[Tensor, "B"], count: int, stream: int) -> Int[Tensor, "B count"]:
    """Uniform numbers from 0 to 2^32, a function of a picture's key, the place and the stream alone.

    So a picture's mini-batch depends on nothing beside it in its batch, and there is no generator to carry. (An
    integer hash of multiply and xor-shift steps; both factors are below 2^31 so that a product fits in 64 bits.)
    """
    x = torch.arange(count, device=keys.device) + stream * 0x3C6EF372
    x = _mix(x[None] ^ _mix(keys[:, None] & 0xFFFFFFFF))
    return _mix(x + (keys[:, None] >> 32 & 0xFFFFFFFF))


def _mix(x: Tensor) -> Tensor:
    x = x & 0xFFFFFFFF
    for shift, factor in ((16, 0x7FEB352D), (15, 0x45D9F3B5), (16, 1)):
        x = ((x ^ (x >> shift)) * factor) & 0xFFFFFFFF
    return x
