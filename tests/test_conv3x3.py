"""The 3 x 3 convolution: Winograd's filters against plain loops, where they are used, and who gets them."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rcnn.acceleration.convolutions import Conv3x3, quicken
from rcnn.ops import conv3x3
from rcnn.ops.conv3x3_winograd import conv3x3_winograd

LARGE = (256, 44, 48)  # channels, height, width of a map that goes through Winograd's filters


def values(*shape, seed=0):
    """Numbers around 1, laid out channels last where there are pictures."""
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return made.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else made


def arguments(channels=256, height=44, width=48, count=1, outputs=256):
    weight = values(outputs, channels, 3, 3, seed=1) / (3 * channels**0.5)
    return values(count, channels, height, width), weight, values(outputs, seed=2)


def by_loops(x, weight, bias):
    """Cell by cell, from the definition."""
    count, channels, height, width = x.shape
    around = np.zeros((count, channels, height + 2, width + 2))
    around[:, :, 1:-1, 1:-1] = x
    out = np.empty((count, len(weight), height, width))
    for n, d, y, left in itertools.product(*map(range, out.shape)):
        out[n, d, y, left] = (around[n, :, y : y + 3, left : left + 3] * weight[d].numpy()).sum() + bias[d]
    return torch.from_numpy(out)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 7), (4, 8), (5, 4), (9, 13)])
def test_winograds_filters_give_what_loops_give(height, width):
    given = arguments(channels=5, height=height, width=width, count=2, outputs=3)
    torch.testing.assert_close(conv3x3_winograd(*given).double(), by_loops(*given), rtol=0, atol=2e-5)


@pytest.mark.parametrize("together", [1, 5, 1000])
def test_how_many_tiles_are_done_together_changes_nothing_but_rounding(monkeypatch, together):
    x, weight, bias = arguments(channels=8, height=22, width=17, count=2, outputs=6)
    monkeypatch.setattr("rcnn.ops.conv3x3_winograd.TOGETHER", together)
    found = conv3x3_winograd(x, weight, bias)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, F.conv2d(x, weight, bias, padding=1), rtol=0, atol=5e-5)


def test_without_a_bias_none_is_added():
    x, weight, _ = arguments(channels=8, height=9, width=9, outputs=6)
    expected = F.conv2d(x, weight, padding=1)
    torch.testing.assert_close(conv3x3_winograd(x, weight, None), expected, rtol=0, atol=5e-5)


def test_large_maps_go_through_winograds_filters_and_are_rounded_a_little_more():
    x, weight, bias = arguments(*LARGE, count=2)
    found, exact = conv3x3(x, weight, bias), F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    assert torch.equal(found, conv3x3_winograd(x, weight, bias))
    assert (found - exact).abs().max() < 1e-4


@pytest.mark.parametrize(
    "changed",
    [
        {"height": 20, "width": 24},
        {"channels": 192},
        {"outputs": 192},
    ],
)
def test_small_maps_and_few_channels_are_convolved_as_ever(changed):
    given = arguments(**changed)
    assert torch.equal(conv3x3(*given), F.conv2d(*given, padding=1))


def test_other_numbers_and_layouts_are_convolved_as_ever():
    x, weight, bias = arguments(*LARGE)
    for given in ((x.contiguous(), weight, bias), (x.double(), weight.double(), bias.double())):
        assert torch.equal(conv3x3(*given), F.conv2d(*given, padding=1))
    with torch.autocast("cpu", torch.bfloat16):
        assert conv3x3(x, weight, bias).dtype == torch.bfloat16


def test_what_learns_gets_the_gradient_of_the_plain_convolution():
    x, weight, bias = arguments(*LARGE)
    weight.requires_grad_()
    (own,) = torch.autograd.grad(conv3x3(x, weight, bias).square().sum(), weight)
    (plain,) = torch.autograd.grad(F.conv2d(x, weight, bias, padding=1).square().sum(), weight)
    torch.testing.assert_close(own, plain)


def test_torch_finds_nothing_amiss_with_the_operator():
    torch.library.opcheck(torch.ops.rcnn.conv3x3.default, arguments(channels=8, height=9, width=6, outputs=6))


def network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
    )


def test_only_plain_3x3_convolutions_are_replaced_and_keep_their_parameters():
    plain = network()
    names, weight = list(plain.state_dict()), plain[0].weight
    quicken(plain)
    assert [type(layer) is Conv3x3 for layer in plain] == [True, False, False, False]
    assert list(plain.state_dict()) == names
    assert plain[0].weight is weight


@torch.no_grad()
def test_compiled_networks_have_the_operator_and_exported_ones_the_convolution():
    quick = nn.Sequential(nn.Conv2d(256, 256, 3, padding=1)).to(memory_format=torch.channels_last)
    quicken(quick)
    x, graphs = arguments(*LARGE)[0], []
    torch.compile(quick, backend=lambda graph, _: graphs.append(str(graph.graph)) or graph.forward)(x)
    assert "rcnn.conv3x3" in graphs[0]
    assert "rcnn.conv3x3" not in str(torch.export.export(quick, (x,)).graph)
