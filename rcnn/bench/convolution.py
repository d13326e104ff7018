"""3 x 3 convolutions of large maps on processors against torch's, channels last both: alone, and with all gradients."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from rcnn.agreement import near
from rcnn.bench.harness import Case, Way
from rcnn.ops import conv2d

Convolution = Callable[..., Tensor]
FORWARD = ((1, 256, 200, 304), (1, 256, 100, 152), (1, 512, 75, 100))
"""Pictures, channels, height and width: ResNet-50's pyramid at 800 x 1216, and VGG16's fourth block at 600 x 800."""
BACKWARD = ((4, 256, 120, 160), (4, 256, 60, 80))
"""The default preset's pyramid in training, at 480 x 640."""
NAMES = ("gradients of inputs", "gradients of filters", "gradients of the bias")
ALIKE = 1e-4
"""Of the largest value."""


def convolution_cases() -> Iterator[Case]:
    """Maps that are large enough for another way to pay."""
    for shape in FORWARD:
        yield convolution_case(*shape, learns=False)
    for shape in BACKWARD:
        yield convolution_case(*shape, learns=True)


def convolution_case(pictures: int, channels: int, height: int, width: int, learns: bool) -> Case:
    """As many channels go in as out."""
    chance = torch.Generator().manual_seed(0)
    x, onwards = (_maps(pictures, channels, height, width, chance) for _ in range(2))
    weight = _maps(channels, channels, 3, 3, chance) / (3 * channels**0.5)
    inputs = [each.requires_grad_(learns) for each in (x, weight, torch.randn(channels, generator=chance))]

    def run(convolve: Convolution) -> tuple[Tensor, ...]:
        with torch.set_grad_enabled(learns):
            outputs = convolve(*inputs, padding=(1, 1))
            return torch.autograd.grad(outputs, inputs, onwards) if learns else (outputs,)

    def check() -> str:
        triples = zip(run(conv2d), run(F.conv2d), NAMES if learns else ("outputs",), strict=True)
        return f"{max(near(own, other, ALIKE, what) for own, other, what in triples):.0e}"

    ways = (Way("torch conv2d", partial(run, F.conv2d)), Way("rcnn", partial(run, conv2d), wanted=1))
    how = "forward + backward" if learns else "forward"
    return Case(f"conv2d, 3 x 3, {pictures} of {channels} x {height} x {width}, {how}", ways, check)


def _maps(a: int, b: int, c: int, d: int, chance: torch.Generator) -> Tensor:
    return torch.randn(a, b, c, d, generator=chance).contiguous(memory_format=torch.channels_last)
