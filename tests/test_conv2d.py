"""Convolutions: Winograd's filters against plain loops, where they are used, and who gets them."""

import copy
import importlib
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from rcnn import build, presets
from rcnn.acceleration.convolutions import QuickConv2d, quicken
from rcnn.backbones.norm import FoldedConv2d
from rcnn.inference.predictor import Detector
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
    expected = conv3x3_reference(x, weight, None)
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
        {"height": 63, "width": 32},  # a cell short of 2,048 in rows of 32
        {"height": 1, "width": 1024},
        {"channels": 255},
        {"outputs": 255},
        {"count": 0},
    ],
)
def test_small_maps_few_channels_and_no_pictures_are_convolved_as_ever(changed):
    given = arguments(**({"height": 44, "width": 48} | changed))
    assert torch.equal(conv2d(*given, padding=(1, 1)), F.conv2d(*given, padding=1))


@pytest.mark.parametrize(
    ("changed", "quick"),
    [({}, True), ({"channels": 63}, False), ({"outputs": 63}, False), ({"height": 33, "width": 31}, False)],
)
def test_filters_learn_by_winograds_from_64_channels_and_1024_cells_on(changed, quick):
    x, weight, bias = arguments(**({"channels": 64, "outputs": 64, "height": 32, "width": 32} | changed))
    outputs = conv2d(x, weight.requires_grad_(), bias, padding=(1, 1))
    assert ("rcnn_conv3x3" in type(outputs.grad_fn).__name__) is quick


def test_winograds_filters_can_be_turned_off(monkeypatch):
    monkeypatch.setattr(importlib.import_module("rcnn.ops.conv2d"), "WINOGRAD", False)
    given = arguments(*LARGE)
    assert torch.equal(conv2d(*given, padding=(1, 1)), F.conv2d(*given, padding=1))
    conv = nn.Conv2d(256, 256, 3, padding=1)
    quicken(conv)
    assert type(conv) is nn.Conv2d


def test_a_map_just_large_enough_goes_through_winograds_filters():
    given = arguments(height=64, width=32)
    assert torch.equal(conv2d(*given, padding=(1, 1)), conv3x3_winograd(*given))


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


@pytest.mark.parametrize("channels", [64, 256])
def test_large_maps_get_the_gradients_of_torchs_convolution(channels):
    inputs = arguments(channels, 44, 48, count=2, outputs=channels)
    inputs, gradient = [each.requires_grad_() for each in inputs], values(2, channels, 44, 48, seed=3)
    quick = conv2d(*inputs, padding=(1, 1))
    assert "rcnn_conv3x3" in type(quick.grad_fn).__name__
    plain = F.conv2d(*(each.double() for each in inputs), padding=1)
    own = torch.autograd.grad(quick, inputs, gradient)
    for found, expected in zip(own, torch.autograd.grad(plain, inputs, gradient.double()), strict=True):
        torch.testing.assert_close(found, expected.float(), rtol=0, atol=float(expected.abs().max()) * 3e-5)


@pytest.mark.parametrize("channels", [64, 256])
def test_outputs_are_the_same_whether_or_not_filters_learn(channels):
    x, weight, bias = arguments(channels, 44, 48, outputs=channels)
    still = conv2d(x, weight, bias, padding=(1, 1))
    assert torch.equal(conv2d(x, weight.requires_grad_(), bias, padding=(1, 1)), still)


@pytest.mark.parametrize(("channels", "height"), [(64, 44), (256, 44), (256, 45)])
def test_what_comes_after_may_change_outputs_in_place(channels, height):
    """As the ReLUs of VGG16 do."""
    x, weight, bias = arguments(channels, height, 48, outputs=channels)
    outputs = conv2d(x, weight.requires_grad_(), bias, padding=(1, 1)).relu_()
    expected = F.conv2d(x, weight, bias, padding=1).relu()
    torch.testing.assert_close(outputs, expected, rtol=0, atol=5e-5)
    (own,) = torch.autograd.grad(outputs.square().sum(), weight)
    (plain,) = torch.autograd.grad(expected.square().sum(), weight)
    torch.testing.assert_close(own, plain, rtol=0, atol=float(plain.abs().max()) * 1e-4)


@pytest.mark.parametrize("learns", [0, 1, 2], ids=["inputs", "filters", "bias"])
def test_only_the_gradients_that_are_asked_for_are_computed(learns):
    inputs = list(arguments(*LARGE))
    inputs[learns].requires_grad_()
    outputs = conv2d(*inputs, padding=(1, 1))
    with Calls() as calls:
        (own,) = torch.autograd.grad(outputs, inputs[learns], torch.ones_like(outputs))
    own_names = [name for name in calls.names if name.startswith("rcnn")]
    assert own_names == [["rcnn::conv3x3"], ["rcnn::conv3x3_weight_gradient"], []][learns]
    (plain,) = torch.autograd.grad(F.conv2d(*inputs, padding=1).sum(), inputs[learns])
    torch.testing.assert_close(own, plain, rtol=0, atol=float(plain.abs().max()) * 3e-5)


class Calls(TorchDispatchMode):
    """The names of the operators that are called meanwhile."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function._schema.name)
        return function(*args, **(kwargs or {}))


def test_gradients_have_gradients():
    given = [each.double().requires_grad_() for each in arguments(channels=2, height=5, width=6, outputs=3)]
    assert torch.autograd.gradcheck(torch.ops.rcnn.conv3x3, given)
    assert torch.autograd.gradgradcheck(torch.ops.rcnn.conv3x3, given)


def test_torch_finds_nothing_amiss_with_the_operators():
    x, weight, bias = arguments(channels=8, height=9, width=6, count=2, outputs=6)
    given = x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()
    torch.library.opcheck(torch.ops.rcnn.conv3x3.default, given)
    gradient = values(2, 6, 9, 6, seed=3).requires_grad_()
    torch.library.opcheck(torch.ops.rcnn.conv3x3_weight_gradient.default, (x, gradient))


def test_only_convolutions_that_may_be_quick_are_made_so_and_all_else_of_them_stays():
    same = nn.Conv2d(256, 256, 3, padding=1).eval()
    calls = []
    same.register_forward_hook(lambda *_: calls.append(1))
    others = nn.Conv2d(3, 256, 3, padding=1), nn.Conv2d(256, 256, 3, 2, 1), nn.Conv2d(256, 256, 1)
    network = nn.Sequential(same, *others, nn.Conv2d(256, 256, 3, padding="same"), same)
    quicken(network)
    assert [type(layer) is QuickConv2d for layer in network] == [True, False, False, False, False, True]
    assert network[0] is network[-1] is same
    assert not same.training
    same(values(1, 256, 4, 4))
    assert calls == [1]


def test_quick_convolutions_are_copied_and_stored_as_others_are():
    conv = nn.Conv2d(64, 64, 3, padding=1)
    quicken(conv)
    x = values(1, 64, 8, 8)
    for other in (copy.deepcopy(conv), pickle.loads(pickle.dumps(conv))):
        assert type(other) is QuickConv2d
        assert torch.equal(other(x), conv(x))


def test_a_quick_convolution_follows_its_settings():
    conv = nn.Conv2d(64, 64, 3, padding=1, padding_mode="reflect")
    quicken(conv)
    x = values(1, 64, 40, 44)
    assert type(conv) is QuickConv2d
    assert torch.equal(conv(x), F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), conv.weight, conv.bias))
    conv.padding_mode, conv.stride = "zeros", (2, 2)
    assert torch.equal(conv(x), F.conv2d(x, conv.weight, conv.bias, stride=2, padding=1))


def test_detectors_are_built_and_settled_with_quick_convolutions():
    config = presets.PRESETS["faster-rcnn-r18-fpn"]()
    model, _ = build.detector(build.resolved(config, pretrained=True), 2)
    assert type(model.rpn.head.conv[0][0]) is QuickConv2d
    folded = model.backbone.body.layer2[0].conv2
    assert isinstance(folded, FoldedConv2d)
    x = values(1, 128, 44, 48)
    assert "rcnn_conv3x3" in type(folded(x).grad_fn).__name__
    detector = Detector(model, build.preprocess(config.input), ["a", "b"]).settled()
    assert type(detector.model.backbone.body.layer2[0].conv2) is QuickConv2d


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
