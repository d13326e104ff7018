"""The Region Proposal Network (Faster R-CNN, section 3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from rcnn.anchors import AnchorGrid, Anchors
from rcnn.boxes import clip, decode, has_side
from rcnn.ops import nms
from rcnn.ops.levels import level_geometry, shapes_of, table_of
from rcnn.structures import Batch, Proposals, take

SMALLEST_SIDE = 1e-3  # of a proposal, in pixels


@dataclass(frozen=True)
class ProposalLimits:
    """How many proposals there are: the best `before` of each level enter suppression, the best `after` leave it.

    `score`: the least objectness, from 0 to 1. `nms`: a box that a better one of its level overlaps by more is dropped.
    `side`: the shortest side, in pixels of the picture before it was resized.
    """

    before: int = 1000
    after: int = 1000
    score: float = 0.0
    nms: float = 0.7
    side: float = 0.0


class RPNHead(nn.Module):
    """At every cell, 3x3 convolutions, then an objectness logit and four deltas for each of `per_cell` anchors.

    `width` is the number of channels in between; 0 for as many as the features have.
    """

    def __init__(self, channels: int, per_cell: int, depth: int = 1, width: int = 0) -> None:
        super().__init__()
        width = width or channels
        sides = [channels] + [width] * depth
        blocks = [nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU()) for a, b in pairwise(sides)]
        self.conv = nn.Sequential(*blocks)
        self.cls_logits = nn.Conv2d(width, per_cell, 1)
        self.bbox_pred = nn.Conv2d(width, 4 * per_cell, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B A 4"]]:
        """Logits and deltas of all anchors, in the order of `Anchors`."""
        hidden = [self.conv(level) for level in features]
        logits = [self.cls_logits(level).permute(0, 2, 3, 1).flatten(1) for level in hidden]
        deltas = [self.bbox_pred(level).permute(0, 2, 3, 1).flatten(1) for level in hidden]
        return torch.cat(logits, dim=1), torch.cat(deltas, dim=1).unflatten(1, (-1, 4))

    def at(self, features: Sequence[Tensor], anchors: Int[Tensor, "B S"]) -> tuple[Tensor, Tensor]:
        """Logits [B, S] and deltas [B, S, 4] of some anchors only: the same numbers as `forward`'s.

        The loss looks at a few hundred anchors of a hundred thousand, so the gradient of the dense convolution is
        almost all zeros. Computing these places alone spares two thirds of the RPN's work in training.
        """
        per_cell = self.cls_logits.out_channels
        if len(self.conv) > 1:
            logits, deltas = self(features)
            return take(logits, anchors), take(deltas, anchors)
        hidden = self._hidden_at(features, anchors // per_cell)
        logits = F.linear(hidden, self.cls_logits.weight.flatten(1), self.cls_logits.bias)
        deltas = F.linear(hidden, self.bbox_pred.weight.flatten(1), self.bbox_pred.bias).unflatten(-1, (per_cell, 4))
        shape = (anchors % per_cell)[..., None]  # [B, S, 1]
        return logits.gather(2, shape)[..., 0], deltas.gather(2, shape[..., None].expand(-1, -1, -1, 4))[:, :, 0]

    def _hidden_at(self, features: Sequence[Tensor], cells: Int[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        """The 3x3 convolution at given cells, as one matrix product over their neighbourhoods."""
        conv: nn.Conv2d = self.conv[0][0]  # type: ignore[index, assignment]
        patches = neighbourhoods(features, cells)  # [B, S, 9, C]
        weight = conv.weight.permute(0, 2, 3, 1).flatten(1)  # [D, 9 * C]
        return F.relu(F.linear(patches.flatten(2), weight, conv.bias))


def neighbourhoods(features: Sequence[Tensor], cells: Int[Tensor, "B S"]) -> Float[Tensor, "B S 9 C"]:
    """The 3x3 cells around each cell, zero beyond its level's border; cells are numbered level after level."""
    shapes = shapes_of(features)
    level, last = torch.zeros_like(cells), 0
    for height, width in shapes[:-1]:
        last += height * width
        level = level + (cells >= last)
    h, w, first, _ = level_geometry(shapes, [1] * len(shapes), level)
    place = cells - first
    offset = torch.arange(-1, 2, device=cells.device)
    y = (place // w)[..., None, None] + offset[:, None]  # [B, S, 3, 1]
    x = (place % w)[..., None, None] + offset  # [B, S, 1, 3]
    inside = (y >= 0) & (y < h[..., None, None]) & (x >= 0) & (x < w[..., None, None])
    rows = first[..., None, None] + y.clamp(min=0) * w[..., None, None] + x.clamp(min=0)
    table = table_of(features)
    picture = torch.arange(table.shape[0], device=cells.device)[:, None, None, None] * table.shape[1]
    rows = torch.where(inside, rows + picture, 0)
    return (F.embedding(rows, table.flatten(0, 1)) * inside[..., None]).flatten(2, 3)


class RPN(nn.Module):
    """Anchors and the head that scores and moves them."""

    def __init__(self, head: RPNHead, anchors: AnchorGrid) -> None:
        super().__init__()
        self.head = head
        self.anchors = anchors

    def anchors_of(self, features: Sequence[Tensor], batch: Batch) -> Anchors:
        """The anchors of a batch's canvas."""
        return self.anchors(shapes_of(features), (batch.images.shape[2], batch.images.shape[3]))

    def forward(self, features: Sequence[Tensor], batch: Batch, limits: ProposalLimits) -> Proposals:
        """The proposals of each picture, clipped to it, best first."""
        logits, deltas = self.head(features)
        anchors, smallest = self.anchors_of(features, batch), smallest_sides(batch, limits)
        return propose(logits.float(), deltas.float(), anchors, batch.sizes, limits, smallest)


def smallest_sides(batch: Batch, limits: ProposalLimits) -> Float[Tensor, "B 1 2"]:
    """The least width and height of a proposal, in pixels of the canvas."""
    resized = batch.sizes / batch.original_sizes
    return (limits.side * resized.flip(-1)[:, None]).clamp(min=SMALLEST_SIDE)


@dataclass(frozen=True)
class Ranked:
    """The best anchors of each level, level after level, moved and clipped: what enters suppression."""

    index: Int[Tensor, "B N"]
    """Which anchor it is."""
    boxes: Float[Tensor, "B N 4"]
    scores: Float[Tensor, "B N"]
    levels: Int[Tensor, "B N"]
    valid: Bool[Tensor, "B N"]


def propose(
    logits: Float[Tensor, "B A"],
    deltas: Float[Tensor, "B A 4"],
    anchors: Anchors,
    sizes: Int[Tensor, "B 2"],
    limits: ProposalLimits,
    smallest: Float[Tensor, "B 1 2"] | float = SMALLEST_SIDE,
) -> Proposals:
    """Top anchors of each level, moved and clipped, suppressed within their level, best of all levels first.

    Boxes with a side below `smallest`, in pixels of the canvas, are dropped. Differentiable in the deltas.
    """
    ranked = rank(logits, deltas, anchors, sizes, limits, smallest)
    index, kept = suppress(ranked, limits, limits.after)
    boxes = take(ranked.boxes, index) * kept[..., None]
    return Proposals(boxes, ranked.scores.gather(1, index) * kept, kept)


def rank(
    logits: Float[Tensor, "B A"],
    deltas: Float[Tensor, "B A 4"],
    anchors: Anchors,
    sizes: Int[Tensor, "B 2"],
    limits: ProposalLimits,
    smallest: Float[Tensor, "B 1 2"] | float,
) -> Ranked:
    """The best `limits.before` anchors of each level, and which of them are good and large enough."""
    ranked = torch.where(anchors.inside(sizes), logits, -torch.inf)
    top = torch.cat(_top_by_level(ranked, anchors.counts, limits.before), dim=1)  # [B, L * before]
    boxes = clip(decode(take(deltas, top), anchors.boxes[top]), sizes)
    scores = ranked.gather(1, top).sigmoid()
    valid = has_side(boxes, smallest) & (scores >= limits.score) & (scores > 0)
    return Ranked(top, boxes, scores, anchors.levels()[top], valid)


def suppress(ranked: Ranked, limits: ProposalLimits, most: int) -> tuple[Int[Tensor, "B k"], Bool[Tensor, "B k"]]:
    """The best `most` that no better one of their level suppresses: places, best first, and which are filled."""
    return nms(ranked.boxes.detach(), ranked.scores, ranked.levels, ranked.valid, limits.nms, most)


def _top_by_level(ranked: Float[Tensor, "B A"], counts: Sequence[int], before: int) -> list[Tensor]:
    tops, start = [], 0
    for count in counts:
        tops.append(ranked[:, start : start + count].topk(min(before, count), dim=1).indices + start)
        start += count
    return tops
