"""The only box arithmetic in the library. Boxes are (x1, y1, x2, y2), x2 and y2 exclusive, any leading dimensions."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Weights = tuple[float, float, float, float]
"""What the four deltas are multiplied with, so that their spread is near one."""

MAX_LOG_SCALE = math.log(1000 / 16)
"""A box may grow at most 62.5-fold: deltas above overflow the exponential early in training (Detectron's constant)."""


def area(boxes: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N"]:
    """Areas in square pixels."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def intersection(a: Float[Tensor, "*#B N 4"], b: Float[Tensor, "*#B M 4"]) -> Float[Tensor, "*#B N M"]:
    """Common areas of every pair."""
    low = torch.maximum(a[..., :, None, :2], b[..., None, :, :2])
    high = torch.minimum(a[..., :, None, 2:], b[..., None, :, 2:])
    sides = (high - low).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def iou(a: Float[Tensor, "*#B N 4"], b: Float[Tensor, "*#B M 4"]) -> Float[Tensor, "*#B N M"]:
    """Intersection over union of every pair; 0 where both boxes are without area."""
    common = intersection(a, b)
    union = area(a)[..., :, None] + area(b)[..., None, :] - common
    return torch.where(union > 0, common / torch.where(union > 0, union, 1), 0)


def paired_giou(a: Float[Tensor, "*N 4"], b: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N"]:
    """Generalized IoU of each box with its partner, from -1 to 1 (arXiv 1902.09630).

    (torchvision's loss of this name selects by a mask, which no graph of fixed shapes can hold.)
    """
    inner = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    outer = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    common, around = (sides[..., 0] * sides[..., 1] for sides in (inner, outer))  # the slope of prod waits for a GPU
    union = area(a) + area(b) - common
    return common / union.clamp(min=1e-7) - (around - union) / around.clamp(min=1e-7)


def clip(boxes: Float[Tensor, "B N 4"], sizes: Tensor) -> Float[Tensor, "B N 4"]:
    """Boxes cut at the borders of their pictures; `sizes` holds height and width, [B, 2]."""
    limits = sizes.flip(-1).repeat(1, 2)[:, None].to(boxes.dtype)  # [B, 1, 4] as w h w h
    return torch.minimum(boxes.clamp(min=0), limits)


def inside(boxes: Float[Tensor, "*#B N 4"], sizes: Tensor) -> Bool[Tensor, "*B N"]:
    """True where no part of a box crosses its picture's border; `sizes` holds height and width, [B, 2]."""
    return (boxes[..., :2] >= 0).all(-1) & (boxes[..., 2:] <= sizes.flip(-1)[:, None]).all(-1)


def has_side(boxes: Float[Tensor, "*N 4"], minimum: Tensor | float) -> Bool[Tensor, "*N"]:
    """True where both sides are at least `minimum` pixels: a number, or width and height, [..., 2]."""
    return ((boxes[..., 2:] - boxes[..., :2]) >= minimum).all(-1)


def encode(
    boxes: Float[Tensor, "*N 4"], references: Float[Tensor, "*N 4"], weights: Weights = (1.0, 1.0, 1.0, 1.0)
) -> Float[Tensor, "*N 4"]:
    """The deltas (tx, ty, tw, th) that turn `references` into `boxes`, times `weights` (R-CNN, appendix C).

    All sides must be positive: a caller with padding fills it with unit boxes.
    """
    x, y, w, h = _centre_form(boxes)
    xa, ya, wa, ha = _centre_form(references)
    wx, wy, ww, wh = weights
    deltas = (wx * (x - xa) / wa, wy * (y - ya) / ha, ww * torch.log(w / wa), wh * torch.log(h / ha))
    return torch.stack(deltas, dim=-1)


def decode(
    deltas: Float[Tensor, "*N 4"], references: Float[Tensor, "*N 4"], weights: Weights = (1.0, 1.0, 1.0, 1.0)
) -> Float[Tensor, "*N 4"]:
    """`references` moved by deltas: the inverse of `encode`, growth capped at MAX_LOG_SCALE."""
    xa, ya, wa, ha = _centre_form(references)
    wx, wy, ww, wh = weights
    tx, ty, tw, th = deltas.unbind(-1)
    x, y = tx / wx * wa + xa, ty / wy * ha + ya
    half_w = 0.5 * torch.exp((tw / ww).clamp(max=MAX_LOG_SCALE)) * wa
    half_h = 0.5 * torch.exp((th / wh).clamp(max=MAX_LOG_SCALE)) * ha
    return torch.stack((x - half_w, y - half_h, x + half_w, y + half_h), dim=-1)


def _centre_form(boxes: Float[Tensor, "*N 4"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.unbind(-1)
    w, h = x2 - x1, y2 - y1
    return x1 + 0.5 * w, y1 + 0.5 * h, w, h
