"""A 3 x 3 convolution by Winograd's filters F(4 x 4, 3 x 3), channels last, a few rows of tiles at a time.

A tile of 6 x 6 inputs and a filter, both transformed, are multiplied place by place; the 36 products, transformed back,
are 4 x 4 outputs. In between each of the 36 places is one matrix product over the channels, which is where the time
goes. The transforms are sums along one axis, then along the other, written out to share terms. The gradient of the
filters takes the same way back: products of transformed inputs and transformed gradients, summed over all tiles.

Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (arXiv:1509.09308), section 4.3.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

TILE, READ = 4, 6
"""Outputs of a tile along one axis, and the inputs that they are made of."""
TOGETHER = 256
"""Tiles of a matrix product: fewer make it slow, more leave the processor's cache."""
FILTER = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
"""The paper's G."""
CENTRE = READ + 1
"""The place whose product is in all outputs of its tile alike: the bias enters there."""


def conv3x3_winograd(
    x: Float[Tensor, "B C H W"], weight: Float[Tensor, "D C 3 3"], bias: Float[Tensor, "D"] | None
) -> Float[Tensor, "B D H W"]:
    """The convolution of stride 1 with a border of zeros, laid out channels last."""
    (count, _, height, width), filters = x.shape, _transformed(weight)
    down, across, rows = _tiling(height, width)
    whole = empty_channels_last(x, count, len(weight), TILE * down, TILE * across)
    tiles = whole.permute(0, 2, 3, 1).view(count, down, TILE, across, TILE, len(weight))
    for picture, out in zip(x.permute(0, 2, 3, 1), tiles, strict=True):
        for first in range(0, down, rows):
            strip = out[first : first + rows]
            _fill(strip, _inputs(picture, first, len(strip), across), filters, bias)
    if whole.shape[2:] == x.shape[2:]:
        return whole  # itself and no view of it, which autograd would not let others change in place
    return whole[:, :, :height, :width].clone(memory_format=torch.channels_last)


def weight_gradient_winograd(
    x: Float[Tensor, "B C H W"], gradient: Float[Tensor, "B D H W"]
) -> Float[Tensor, "D C 3 3"]:
    """The gradient of the filters, laid out channels last, from that of the convolution's outputs."""
    channels, outputs = x.shape[1], gradient.shape[1]
    down, across, rows = _tiling(*x.shape[2:])
    total = x.new_zeros(READ * READ, channels, outputs)
    for picture, gradients in zip(x.permute(0, 2, 3, 1), gradient.permute(0, 2, 3, 1), strict=True):
        for first in range(0, down, rows):
            count = min(rows, down - first)
            inputs = _inputs(picture, first, count, across)
            total.baddbmm_(inputs.transpose(1, 2), _gradients(gradients, first, count, across))
    filters = _outer(x).T @ total.flatten(1)
    return filters.view(3, 3, channels, outputs).permute(3, 2, 0, 1).clone(memory_format=torch.channels_last)


def empty_channels_last(like: Tensor, *shape: int) -> Tensor:
    """Memory for a tensor of the same numbers, laid out channels last."""
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _tiling(height: int, width: int) -> tuple[int, int, int]:
    """Tiles down and across a map, and how many rows of them are done together."""
    down, across = -(-height // TILE), -(-width // TILE)
    return down, across, max(1, TOGETHER // across)


def _outer(like: Tensor) -> Float[Tensor, "36 9"]:
    """G along both axes."""
    g = like.new_tensor(FILTER)
    return torch.einsum("ia,jb->ijab", g, g).reshape(READ * READ, 9)


def _transformed(weight: Float[Tensor, "D C 3 3"]) -> Float[Tensor, "36 C D"]:
    """The filters of each place of a tile: G w G'."""
    filters = _outer(weight) @ weight.permute(2, 3, 1, 0).reshape(9, -1)
    return filters.view(READ * READ, weight.shape[1], len(weight))


def _inputs(picture: Float[Tensor, "H W C"], first: int, rows: int, across: int) -> Float[Tensor, "36 rows*across C"]:
    """What `rows` rows of tiles from row `first` on are made of, transformed; zeros where the map ends."""
    channels = picture.shape[2]
    padded = _cut(picture, TILE * first - 1, TILE * rows + 2, -1, TILE * across + 2)
    down = picture.new_empty(rows, READ, TILE * across + 2, channels)
    _before(_every_fourth(padded, rows, dim=0), down.unbind(1))
    tiles = picture.new_empty(rows, across, READ, READ, channels)
    _before(_every_fourth(down, across, dim=2), tiles.transpose(1, 2).unbind(3))
    return tiles.view(rows * across, READ * READ, channels).transpose(0, 1)


def _gradients(
    gradients: Float[Tensor, "H W D"], first: int, rows: int, across: int
) -> Float[Tensor, "36 rows*across D"]:
    """The gradients of the same rows' outputs, transformed."""
    outputs = gradients.shape[2]
    strip = _cut(gradients, TILE * first, TILE * rows, 0, TILE * across).view(rows, TILE, across, TILE, outputs)
    down = gradients.new_empty(rows, READ, across, TILE, outputs)
    _back(strip.unbind(1), down.unbind(1))
    tiles = gradients.new_empty(rows, across, READ, READ, outputs)
    _back(down.unbind(3), tiles.transpose(1, 2).unbind(3))
    return tiles.view(rows * across, READ * READ, outputs).transpose(0, 1)


def _cut(x: Float[Tensor, "H W C"], top: int, height: int, left: int, width: int) -> Float[Tensor, "height width C"]:
    """A part of a map, zeros beyond its ends."""
    above, before = max(0, -top), max(0, -left)
    inside = x[top + above : top + height, left + before : left + width]
    below, behind = height - above - inside.shape[0], width - before - inside.shape[1]
    return F.pad(inside, (0, 0, before, behind, above, below))


def _fill(
    strip: Float[Tensor, "rows 4 across 4 D"],
    inputs: Float[Tensor, "36 rows*across C"],
    filters: Float[Tensor, "36 C D"],
    bias: Float[Tensor, "D"] | None,
) -> None:
    """A few rows of tiles, from what they are made of."""
    rows, _, across, _, outputs = strip.shape
    products = torch.bmm(inputs, filters)
    if bias is not None:
        products[CENTRE] += bias
    down = strip.new_empty(TILE, READ, rows, across, outputs)
    _after(products.view(READ, READ, rows, across, outputs).unbind(), down.unbind())
    _after(down.unbind(1), strip.permute(3, 1, 0, 2, 4).unbind())


def _every_fourth(x: Tensor, tiles: int, dim: int) -> list[Tensor]:
    """The six inputs of each tile along one axis: every fourth cell, from each of the first six on."""
    fourth = (slice(None),) * dim + (slice(None, None, TILE),)
    return [x.narrow(dim, place, TILE * (tiles - 1) + 1)[fourth] for place in range(READ)]


def _before(d: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """Six inputs along an axis, transformed: the paper's B'."""
    torch.add(d[4], d[0], alpha=4, out=out[0]).sub_(d[2], alpha=5)
    torch.add(d[5], d[1], alpha=4, out=out[5]).sub_(d[3], alpha=5)
    even, odd = torch.sub(d[4], d[2], alpha=4), torch.sub(d[3], d[1], alpha=4)
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])
    torch.sub(d[4], d[2], out=even)
    torch.sub(d[3], d[1], out=odd)
    torch.add(even, odd, alpha=2, out=out[3])
    torch.sub(even, odd, alpha=2, out=out[4])


def _after(m: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """Six products along an axis, transformed into four outputs: the paper's A'."""
    near, far = m[1] + m[2], m[3] + m[4]
    torch.add(m[0], near, out=out[0]).add_(far)
    torch.add(near, far, alpha=4, out=out[2])
    torch.sub(m[1], m[2], out=near)
    torch.sub(m[3], m[4], out=far)
    torch.add(near, far, alpha=2, out=out[1])
    torch.add(near, far, alpha=8, out=out[3]).add_(m[5])


def _back(y: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """The gradients of four outputs along an axis, as those of the six products: the paper's A."""
    out[0].copy_(y[0])
    out[5].copy_(y[3])
    even, odd = y[0] + y[2], y[1] + y[3]
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])
    torch.add(y[0], y[2], alpha=4, out=even)
    torch.add(y[1], y[3], alpha=4, out=odd)
    torch.add(even, odd, alpha=2, out=out[3])
    torch.sub(even, odd, alpha=2, out=out[4])
