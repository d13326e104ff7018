"""S, M, L and ZF: their maps, their stages, their norms, and the fully connected layers that come with them."""

import math

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from rcnn.backbones import (
    FULLY_CONNECTED,
    NETWORKS,
    SingleMapBackbone,
    fully_connected,
    load_backbone_weights,
    load_fully_connected,
)
from rcnn.backbones import classifier as module
from rcnn.backbones.classifier import Classifier, classifier, last_layer
from rcnn.backbones.papers import WithinChannelNorm
from rcnn.backbones.weights import download_state
from rcnn.errors import ConfigError, WeightsError

PADDED = ("caffenet", "vgg16", "zf")
UNPADDED = ("alexnet", "vgg-m")
CELLS = {"alexnet": (256, 6), "caffenet": (256, 6), "vgg-m": (512, 6), "vgg16": (512, 7), "zf": (256, 6)}
"""Channels of conv5 and side of the grid that fc6 reads."""


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def last_map(name, height, width):
    with torch.no_grad():
        return NETWORKS[name](None)(noise(1, 3, height, width))[-1]


@pytest.mark.parametrize("name", PADDED)
def test_padded_networks_cover_a_canvas_exactly(name):
    for height, width in ((64, 96), (224, 32)):
        assert last_map(name, height, width).shape[2:] == (height // 16, width // 16)


@pytest.mark.parametrize("name", UNPADDED)
def test_unpadded_networks_have_a_cell_less_and_steps_of_16_from_288_pixels_on(name):
    for side in (64, 96, 256, 288, 640):
        cells = last_map(name, side, 64).shape[2]
        assert cells == side // 16 - 1
        assert (side // cells == 16) == (side >= 288)


def test_the_papers_sizes_of_conv5_on_their_own_crops():
    assert last_map("alexnet", 224, 224).shape[2:] == (13, 13)
    assert last_map("vgg-m", 224, 224).shape[2:] == (13, 13)
    assert last_map("vgg16", 224, 224).shape[2:] == (14, 14)


FROZEN = {
    ("vgg16", 2): {"0", "2", "5", "7"},  # Fast R-CNN, section 4.5: conv3_1 and up train
    ("caffenet", 1): {"conv1"},  # conv2 and up
    ("vgg-m", 1): {"conv1"},
    ("alexnet", 1): {"0"},
    ("zf", 5): {"conv1", "conv2", "conv3", "conv4", "conv5"},
    ("zf", 0): set(),
}


@pytest.mark.parametrize("case", FROZEN, ids=str)
def test_a_stage_of_the_papers_is_all_that_their_numbers_name(case):
    name, stages = case
    trunk = NETWORKS[name](None)
    trunk.freeze(stages)
    assert {key.split(".")[0] for key, p in trunk.named_parameters() if not p.requires_grad} == FROZEN[case]


@pytest.mark.parametrize(("name", "has"), [("small", 4), ("mobilenet-v3-large-top", 2), ("zf", 5)])
def test_more_stages_than_the_network_has_are_refused(name, has):
    trunk = NETWORKS[name](None)
    trunk.freeze(has)
    with pytest.raises(ConfigError, match=rf"frozen_stages: {has + 1}, but the network has {has} stages"):
        trunk.freeze(has + 1)


def test_within_channel_normalisation_is_that_of_a_loop_over_windows():
    x = noise(2, 3, 5, 4).double()
    expected = torch.zeros_like(x)
    for b, c, y, i in ((b, c, y, i) for b in range(2) for c in range(3) for y in range(5) for i in range(4)):
        rows, columns = range(max(y - 1, 0), min(y + 2, 5)), range(max(i - 1, 0), min(i + 2, 4))
        squares = sum(float(x[b, c, row, column]) ** 2 for row in rows for column in columns)
        expected[b, c, y, i] = float(x[b, c, y, i]) / math.pow(1 + 0.3 * squares / 9, 0.75)
    torch.testing.assert_close(WithinChannelNorm(3, 0.3, 0.75)(x), expected)


@pytest.mark.parametrize("name", [*PADDED, *UNPADDED, "mobilenet-v2", "mobilenet-v3-large-top"])
def test_any_network_serves_without_a_pyramid(name):
    backbone = SingleMapBackbone(NETWORKS[name](None).eval())
    with torch.no_grad():
        levels = backbone(noise(1, 3, 64, 320))
    assert len(levels) == len(backbone.strides) == 1
    assert levels[0].shape[1] == backbone.channels
    assert 320 // levels[0].shape[3] == backbone.strides[0]
    assert backbone.extra_levels == 0


def test_mobilenet_v2_alone_is_1280_channels_at_stride_32():
    backbone = SingleMapBackbone(NETWORKS["mobilenet-v2"](None))
    assert (backbone.channels, backbone.strides) == (1280, (32,))


def cheap(build):
    """A torchvision classifier whose weights are drawn fast: a few thousand numbers over and over."""
    with torch.device("meta"):
        model = build()
    model = model.to_empty(device="cpu").eval()
    for index, parameter in enumerate(model.parameters()):
        drawn = torch.randn(100_003, generator=torch.Generator().manual_seed(index))
        fan_in = max(1, parameter[0].numel())
        values = drawn.repeat(-(-parameter.numel() // len(drawn)))[: parameter.numel()].view_as(parameter)
        parameter.data = values.mul_((2 / fan_in) ** 0.5 if parameter.ndim > 1 else 0.1)
    return model


def fc7(features, layers):
    x = features.permute(0, 2, 3, 1).flatten(1)
    for name in ("fc6", "fc7"):
        x = F.relu(F.linear(x, layers[f"{name}.weight"], layers[f"{name}.bias"]))
    return x


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_trunk_pooling_and_fully_connected_layers_give_torchvisions_fc7(name, tmp_path):
    theirs = cheap(getattr(torchvision.models, name))
    state, trunk = theirs.state_dict(), NETWORKS[name](None)
    torch.save({key: value for key, value in state.items() if key.startswith("features.")}, tmp_path / "features.pth")
    assert load_backbone_weights(trunk, name, tmp_path / "features.pth").kept == ()
    image, layers = noise(1, 3, 224, 224).double(), fully_connected(name, state)
    with torch.no_grad():  # in double precision, in which every processor rounds alike enough
        pooled = F.adaptive_max_pool2d(trunk.double()(image)[-1], FULLY_CONNECTED[name].grid)
        actual = fc7(pooled, {key: value.double() for key, value in layers.items()})
        theirs.classifier[-1] = nn.Identity()
        expected = theirs.double()(image)
    assert expected.count_nonzero() > 100
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def narrow_state(name, first=None):
    """The state dict of a whole classifier whose fully connected layers are of zeros that take no memory."""
    layers, (channels, grid) = FULLY_CONNECTED[name], CELLS[name]
    columns, (first, second) = channels * grid**2, layers.widths if first is None else (first, layers.widths[1])
    shapes = {"weight": ((first, columns), (second, first)), "bias": ((first,), (second,))}
    return {
        f"{layer}.{kind}": torch.zeros(1).expand(shape)
        for kind, pair in shapes.items()
        for layer, shape in zip(layers.names, pair, strict=True)
    }


@pytest.mark.parametrize("name", FULLY_CONNECTED)
def test_the_table_of_widths_and_grids_is_that_of_the_classifiers(name):
    with torch.device("meta"):
        theirs = {"alexnet": torchvision.models.alexnet, "vgg16": torchvision.models.vgg16}.get(name)
        model = theirs() if theirs else on_meta(name)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    assert all(shapes[key] == value.shape for key, value in narrow_state(name).items())


def on_meta(name):
    """A classifier of this library that takes no memory."""
    layers, trunk = FULLY_CONNECTED[name], NETWORKS[name](None)
    return Classifier(trunk, nn.AdaptiveMaxPool2d(layers.grid), layers.grid**2, layers.widths, 10)


def test_layers_of_another_size_are_refused():
    with pytest.raises(WeightsError, match=r"zf: classifier.fc6 and classifier.fc7 .* not of 4096 and 4096 units"):
        fully_connected("zf", narrow_state("zf", first=512))
    part = narrow_state("zf")
    del part["classifier.fc7.bias"]
    with pytest.raises(WeightsError, match="pass a state dict of that classifier"):
        fully_connected("zf", part)


def head(columns=256 * 36, widths=(4096, 4096)):
    """A head's layers, without memory."""
    with torch.device("meta"):
        layers = {"fc6": nn.Linear(columns, widths[0]), "fc7": nn.Linear(*widths)}
    return nn.ModuleDict(layers)


def test_a_head_that_asks_for_layers_that_do_not_fit_is_told_why(monkeypatch):
    for network, state, layers, message in (
        (
            "zf",
            narrow_state("zf"),
            head(columns=256 * 49),
            r"zf: fc6.weight is \(4096, 9216\), .* \(4096, 12544\)",
        ),
        ("vgg-m", narrow_state("vgg-m"), head(512 * 36), r"fc7.weight is \(1024, 4096\), in the head \(4096, 4096\)"),
        ("small", NETWORKS["small"](None).state_dict(), head(), "small: holds no fc6 and fc7"),
    ):
        monkeypatch.setattr(module, "state_of", lambda network, source, state=state: state)
        with pytest.raises(WeightsError, match=message):
            load_fully_connected(layers, network, None)


def test_without_such_layers_there_is_nothing_to_begin_from():
    assert fully_connected("resnet18", {"fc.weight": torch.zeros(3, 512)}) == {}
    assert fully_connected("zf", NETWORKS["zf"](None).state_dict()) == {}


def test_columns_are_permuted_from_channel_row_column_to_row_column_channel():
    state = narrow_state("zf") | {"classifier.fc6.weight": torch.arange(256 * 36.0).expand(4096, -1)}
    columns = fully_connected("zf", state)["fc6.weight"][5].view(6, 6, 256)
    assert columns[1, 2, 3] == 3 * 36 + 1 * 6 + 2


@pytest.mark.parametrize("name", ["small", "mobilenet-v2", "resnet18"])
def test_a_classifiers_weights_fill_the_backbone_whole(name, tmp_path):
    model = classifier(name, 3)
    assert last_layer(model).out_features == 3
    torch.save(model.state_dict(), tmp_path / "whole.pth")
    trunk = NETWORKS[name](None)
    report = load_backbone_weights(trunk, name, tmp_path / "whole.pth")
    assert report.kept == ()
    own = dict(model.named_parameters())
    for key, value in trunk.named_parameters():
        assert torch.equal(value, own.get(key, own.get(f"features.{key}")))


@pytest.mark.parametrize("name", ["caffenet", "vgg-m", "zf"])
def test_networks_that_nobody_publishes_say_how_to_get_weights(name):
    with pytest.raises(WeightsError, match="make some with rcnn pretrain, or pass --backbone-weights FILE or none"):
        download_state(name)
