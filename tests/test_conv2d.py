"""Convolutions: Winograd's filters against plain loops, where they are used, and who gets them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rcnn.acceleration.convolutions import QuickConv2d, quicken
from rcnn.ops import conv2d
from rcnn.ops.conv2d_winograd import conv3x3_winograd, weight_gradient_winograd
from rcnn.ops.reference import conv3x3_reference

LARGE = (256, 44, 48)  # channels, height, width of a map that goes through Winograd's filters


def values(*shape, seed=0):
    """Numbers around 1, laid out channels last where there are pictures."""
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return made.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else made


def arguments(channels=256, height=44, width=48, count=1, outputs=256):
    weight = values(outputs, channels, 3, 3, seed=1) / (3 * channels**0.5)
    return values(count, channels, height, width), weight, values(outputs, seed=2)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 7), (4, 8), (5, 4), (9, 13)])
def test_winograds_filters_give_what_loops_give(height, width):
    given = arguments(channels=5, height=height, width=width, count=2, outputs=3)
    torch.testing.assert_close(conv3x3_winograd(*given), conv3x3_reference(*given), rtol=0, atol=2e-5)


@pytest.mark.parametrize("together", [1, 5, 1000])
def test_how_many_tiles_are_done_together_changes_nothing_but_rounding(monkeypatch, together):
    x, weight, bias = arguments(channels=8, height=22, width=17, count=2, outputs=6)
    monkeypatch.setattr("rcnn.ops.conv2d_winograd.TOGETHER", together)
    found = conv3x3_winograd(x, weight, bias)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, F.conv2d(x, weight, bias, padding=1), rtol=0, atol=5e-5)


def test_without_a_bias_none_is_added():
    x, weight, _ = arguments(channels=8, height=9, width=9, outputs=6)
    expected = F.conv2d(x, weight, padding=1)
    torch.testing.assert_close(conv3x3_winograd(x, weight, None), expected, rtol=0, atol=5e-5)


def test_large_maps_go_through_winograds_filters_and_are_rounded_a_little_more():
    x, weight, bias = arguments(*LARGE, count=2)
    found, exact = (
        conv2d(x, weight, bias, padding=(1, 1)),
        F.conv2d(x.double(), weight.double(), bias.double(), padding=1),
    )
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
    assert torch.equal(conv2d(*given, padding=(1, 1)), F.conv2d(*given, padding=1))


def test_other_numbers_and_layouts_are_convolved_as_ever():
    x, weight, bias = arguments(*LARGE)
    for given in ((x.contiguous(), weight, bias), (x.double(), weight.double(), bias.double())):
        assert torch.equal(conv2d(*given, padding=(1, 1)), F.conv2d(*given, padding=1))
    with torch.autocast("cpu", torch.bfloat16):
        assert conv2d(x, weight, bias, padding=(1, 1)).dtype == torch.bfloat16


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 7), (8, 12), (9, 13)])
def test_the_gradient_of_filters_is_that_of_loops(height, width):
    x, weight, bias = arguments(channels=5, height=height, width=width, count=2, outputs=3)
    gradient = values(2, 3, height, width, seed=3)
    weight.requires_grad_()
    (expected,) = torch.autograd.grad(conv3x3_reference(x, weight, bias), weight, gradient)
    torch.testing.assert_close(weight_gradient_winograd(x, gradient), expected, rtol=0, atol=2e-4)


def test_large_maps_get_the_gradients_of_the_plain_convolution():
    inputs, gradient = arguments(*LARGE, count=2), values(2, 256, 44, 48, seed=3)
    inputs = [each.requires_grad_() for each in inputs]
    quick = conv2d(*inputs, padding=(1, 1))
    assert "rcnn_conv3x3" in type(quick.grad_fn).__name__
    plain = F.conv2d(*(each.double() for each in inputs), padding=1)
    own = torch.autograd.grad(quick, inputs, gradient)
    for found, expected in zip(own, torch.autograd.grad(plain, inputs, gradient.double()), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=float(expected.abs().max()) * 3e-5)


def test_only_the_gradients_that_are_asked_for_are_computed():
    x, weight, bias = arguments(*LARGE)
    (own,) = torch.autograd.grad(conv2d(x, weight.requires_grad_(), bias, padding=(1, 1)).sum(), weight)
    (plain,) = torch.autograd.grad(F.conv2d(x, weight, bias, padding=1).sum(), weight)
    torch.testing.assert_close(own, plain, rtol=0, atol=float(plain.abs().max()) * 3e-5)


def test_torch_finds_nothing_amiss_with_the_operator():
    torch.library.opcheck(torch.ops.rcnn.conv3x3.default, arguments(channels=8, height=9, width=6, outputs=6))


def test_only_convolutions_that_may_be_quick_are_replaced_and_keep_their_parameters():
    same = nn.Conv2d(256, 256, 3, padding=1)
    others = nn.Conv2d(3, 256, 3, padding=1), nn.Conv2d(256, 256, 3, 2, 1), nn.Conv2d(256, 256, 1)
    network = nn.Sequential(same, *others, nn.Conv2d(256, 256, 3, padding="same"))
    names = list(network.state_dict())
    quicken(network)
    assert [type(layer) is QuickConv2d for layer in network] == [True, False, False, False, False]
    assert list(network.state_dict()) == names
    assert network[0].weight is same.weight


def test_other_strides_dilations_and_groups_are_torchs():
    x, weight, bias = arguments(*LARGE)
    for settings in (
        {"stride": (2, 2), "padding": (1, 1)},
        {"dilation": (2, 2), "padding": (2, 2)},
        {"padding": (0, 0)},
    ):
        assert torch.equal(conv2d(x, weight, bias, **settings), F.conv2d(x, weight, bias, **settings))
    assert torch.equal(conv2d(x, weight[:, :1], bias, groups=256), F.conv2d(x, weight[:, :1], bias, groups=256))


@torch.no_grad()
def test_compiled_networks_have_the_operator_and_exported_ones_the_convolution():
    quick = nn.Sequential(nn.Conv2d(256, 256, 3, padding=1)).to(memory_format=torch.channels_last)
    quicken(quick)
    x, graphs = arguments(*LARGE)[0], []
    torch.compile(quick, backend=lambda graph, _: graphs.append(str(graph.graph)) or graph.forward)(x)
    assert "rcnn.conv3x3" in graphs[0]
    assert "rcnn.conv3x3" not in str(torch.export.export(quick, (x,)).graph)
