"""A 3 x 3 convolution by Winograd's filters F(4 x 4, 3 x 3), channels last, a few rows of tiles at a time.

A tile of 6 x 6 inputs and a filter, both transformed, are multiplied place by place; the 36 products, transformed back,
are 4 x 4 outputs. In between each of the 36 places is one matrix product over the channels, which is where the time
goes. The transforms are sums along one axis, then along the other, written out to share terms.

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
    (count, _, height, width), filters = x.shape, transformed(weight)
    down, across = -(-height // TILE), -(-width // TILE)
    rows = max(1, TOGETHER // across)
    whole = x.new_empty(count, down, TILE, across, TILE, len(weight))
    for picture, out in zip(x.permute(0, 2, 3, 1), whole, strict=True):
        for first in range(0, down, rows):
            strip = out[first : first + rows]
            _fill(strip, _padded(picture, first, len(strip), across), filters, bias)
    maps = whole.view(count, TILE * down, TILE * across, -1)[:, :height, :width]
    return maps.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def transformed(weight: Float[Tensor, "D C 3 3"]) -> Float[Tensor, "36 C D"]:
    """The filters of each place of a tile: G w G'."""
    g = weight.new_tensor(FILTER)
    both = torch.einsum("ia,jb->ijab", g, g).reshape(READ * READ, 9)
    return (both @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(READ * READ, weight.shape[1], len(weight))


def _padded(picture: Float[Tensor, "H W C"], first: int, rows: int, across: int) -> Float[Tensor, "h w C"]:
    """What `rows` rows of tiles from row `first` on are made of, zeros where the map ends."""
    top, high, wide = TILE * first - 1, TILE * rows + 2, TILE * across + 2
    inside = picture[max(0, top) : top + high]
    above = max(0, -top)
    return F.pad(inside, (0, 0, 1, wide - 1 - inside.shape[1], above, high - above - len(inside)))


def _fill(
    strip: Float[Tensor, "rows 4 across 4 D"],
    padded: Float[Tensor, "h w C"],
    filters: Float[Tensor, "36 C D"],
    bias: Float[Tensor, "D"] | None,
) -> None:
    """A few rows of tiles, from what they are made of."""
    rows, _, across, _, outputs = strip.shape
    channels = padded.shape[2]
    down = padded.new_empty(rows, READ, padded.shape[1], channels)
    _before(_tiled(padded, rows, dim=0), down.unbind(1))
    tiles = padded.new_empty(rows, across, READ, READ, channels)
    _before(_tiled(down, across, dim=2), tiles.transpose(1, 2).unbind(3))
    products = torch.bmm(tiles.view(rows * across, READ * READ, channels).transpose(0, 1), filters)
    if bias is not None:
        products[CENTRE] += bias
    places = products.view(READ, READ, rows, across, outputs)
    back = padded.new_empty(TILE, READ, rows, across, outputs)
    _after(places.unbind(), back.unbind())
    _after(back.unbind(1), strip.permute(3, 1, 0, 2, 4).unbind())


def _tiled(x: Tensor, tiles: int, dim: int) -> list[Tensor]:
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
    """Six products along an axis, transformed back into four outputs: the paper's A'."""
    near, far = m[1] + m[2], m[3] + m[4]
    torch.add(m[0], near, out=out[0]).add_(far)
    torch.add(near, far, alpha=4, out=out[2])
    torch.sub(m[1], m[2], out=near)
    torch.sub(m[3], m[4], out=far)
    torch.add(near, far, alpha=2, out=out[1])
    torch.add(near, far, alpha=8, out=out[3]).add_(m[5])
