"""Pooling operators in the types and layouts that they meet, forward alone and with their gradient."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rcnn.agreement import near
from rcnn.bench.harness import Case, Way

Pool = Callable[[Sequence[Tensor]], Tensor]
"""From the levels of a pyramid to what is pooled of them."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.01}
"""Largest difference, as a share of the largest value. Maxima are exact; means of samples round."""


@dataclass(frozen=True)
class Pooling:
    """An operator of another library and ours, and the pyramid that both read, channels first and single precision."""

    name: str
    other: str
    theirs: Pool
    ours: Pool
    pyramid: Sequence[Tensor]


def pooling_cases(work: Pooling, both: float, forward: Mapping[str, float] | None = None) -> Iterator[Case]:
    """Forward; then forward and backward. The other library reads its own layout, ours channels last."""
    wanted = forward or {}
    last = [level.contiguous(memory_format=torch.channels_last) for level in work.pyramid]
    half = [level.bfloat16() for level in last]
    with torch.no_grad():
        uneven = torch.rand_like(work.theirs(work.pyramid))  # so that a gradient in a wrong place is a wrong gradient
    yield Case(
        f"{work.name}, forward",
        (
            Way(work.other, lambda: work.theirs(work.pyramid)),
            Way("rcnn", lambda: work.ours(last), wanted.get("fp32")),
            Way("rcnn, bf16", lambda: work.ours(half), wanted.get("bf16")),
        ),
        lambda: _forward_agrees(work, (last, half)),
    )
    yield Case(
        f"{work.name}, forward + backward",
        (
            Way(work.other, lambda: gradients(work.theirs, work.pyramid, uneven)),
            Way("rcnn", lambda: gradients(work.ours, last, uneven), both),
            Way("rcnn, bf16", lambda: gradients(work.ours, half, uneven.bfloat16())),
        ),
        lambda: _gradients_agree(work, last, half, uneven),
    )


def gradients(pool: Pool, pyramid: Sequence[Tensor], weights: Tensor) -> tuple[Tensor, ...]:
    """The gradient of the sum of what is pooled, each value times its weight, in every level."""
    levels = [level.detach().requires_grad_() for level in pyramid]
    pooled = pool(levels)
    return torch.autograd.grad(pooled, levels, weights.view_as(pooled))


@torch.no_grad()
def _forward_agrees(work: Pooling, ours: Sequence[Sequence[Tensor]]) -> str:
    expected = work.theirs(work.pyramid)
    differences = [
        near(work.ours(maps), expected.view_as(work.ours(maps)), TOLERANCE[maps[0].dtype], str(maps[0].dtype))
        for maps in ours
    ]
    return " and ".join(f"{difference:.0e}" for difference in differences)


def _gradients_agree(work: Pooling, full: Sequence[Tensor], half: Sequence[Tensor], weights: Tensor) -> str:
    """In half precision on maps that are rounded so for both: else other cells hold the maxima."""
    differences = []
    for maps, own_weights, tolerance in ((full, weights, 1e-4), (half, weights.bfloat16(), 0.03)):
        expected = gradients(work.theirs, [level.float().contiguous() for level in maps], own_weights.float())
        pairs = zip(gradients(work.ours, maps, own_weights), expected, strict=True)
        differences.append(max(near(own, other, tolerance, f"gradient in {maps[0].dtype}") for own, other in pairs))
    return " and ".join(f"{difference:.0e}" for difference in differences)
