"""Backbones found by looking: torchvision's and timm's classifiers, cut where their maps shrink."""

import copy
from pathlib import Path

import pytest
import torch
import torchvision
from conftest import TINY, shape_data
from test_fixed_shapes import NothingWaits, fake_batch
from torch import nn
from torch._subclasses import FakeTensorMode

from rcnn import build
from rcnn.acceleration.dense import dense_parts
from rcnn.api.training import _warn_of_colours
from rcnn.backbones import fold_frozen_norm, freeze_norms, load_backbone_weights, network, timm_networks
from rcnn.backbones.networks import WEIGHTS, group_norm
from rcnn.backbones.norm import BATCH_NORMS
from rcnn.backbones.survey import survey, trunk_of
from rcnn.config import BACKBONES, Config
from rcnn.data.loader import Batches
from rcnn.errors import ConfigError, WeightsError
from rcnn.presets.overrides import override, preset

LIGHT = {
    "convnext_tiny": (96, 192, 384, 768),
    "densenet121": (256, 512, 1024, 1024),
    "efficientnet_b0": (24, 40, 112, 1280),
    "mnasnet0_5": (16, 24, 48, 1280),
    "mobilenet_v3_small": (16, 24, 48, 576),
    "regnet_y_400mf": (48, 104, 208, 440),
    "shufflenet_v2_x0_5": (24, 48, 96, 1024),
    "squeezenet1_1": (128, 256, 512),
    "swin_t": (96, 192, 384, 768),
}
"""One of each family, and the channels of its maps at strides 4, 8, 16 and 32."""
TIMM = {
    "timm:resnet10t": "layer4",
    "timm:efficientnet_lite0": "network",
    "timm:swin_tiny_patch4_window7_224": "layers_3",
}
OTHER_SIZES = ("vit", "maxvit", "inception", "googlenet")  # one size of picture; no padding; another range of colours


@pytest.fixture(scope="module")
def trunks():
    """Each network once, with random weights."""
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.init, "trunc_normal_", nn.init.normal_)  # numbers of the same spread, sooner
        return {name: network(name).eval() for name in (*LIGHT, *TIMM)}


def picture(channels=3, height=64, width=96):
    return torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(2))


def test_every_classifier_of_torchvision_is_a_backbone_but_for_those_that_cannot_be():
    theirs = set(torchvision.models.list_models(module=torchvision.models))
    usable = {name for name in theirs if not name.startswith(OTHER_SIZES)}
    named = {name.replace("-", "_") for name in BACKBONES}
    assert usable <= named
    assert {name for name in BACKBONES if name not in theirs and name.replace("-", "_") not in theirs} == {
        "mobilenet-v3-large-top", "small", "caffenet", "vgg-m", "zf", "resnet50-caffe", "resnet101-caffe",
    }  # fmt: skip
    assert usable - {"mobilenet_v2", "mobilenet_v3_large"} <= WEIGHTS.keys()


def test_every_backbone_is_listed_in_the_docs():
    text = (Path(__file__).parents[1] / "docs" / "backbones.md").read_text("utf-8")
    assert [name for name in BACKBONES if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", LIGHT)
def test_maps_are_read_just_before_each_reduction(trunks, name):
    trunk = trunks[name]
    assert trunk.channels == LIGHT[name]
    assert trunk.strides == (4, 8, 16, 32)[: len(LIGHT[name])]
    with torch.no_grad():
        maps = trunk(picture(height=128, width=192))
    lost = 1 if name == "squeezenet1_1" else 0  # it pads less than it cuts
    assert [tuple(level.shape[1:]) for level in maps] == [
        (channels, 128 // stride - lost, 192 // stride - lost)
        for channels, stride in zip(trunk.channels, trunk.strides, strict=True)
    ]


@pytest.mark.parametrize("name", ["densenet121", "regnet_y_400mf", "swin_t"])
def test_the_last_map_is_what_the_classifier_pools(trunks, name):
    torch.manual_seed(0)
    whole = torchvision.models.get_model(name).eval()
    trunk = copy.deepcopy(trunks[name])
    report = load_state(trunk, name, whole.state_dict())
    assert report.kept == ()
    seen = {}
    layer = {"swin_t": "features", "regnet_y_400mf": "trunk_output"}.get(name, "features")
    whole.get_submodule(layer).register_forward_hook(lambda _, __, out: seen.update(map=out.clone()))
    with torch.no_grad():
        whole(picture())
        last = trunk(picture())[-1]
    expected = seen["map"].permute(0, 3, 1, 2) if name == "swin_t" else seen["map"]
    torch.testing.assert_close(last, expected)


def load_state(trunk, name, state):
    from rcnn.backbones.weights import fill

    return fill(trunk, name, state, "a state dict")


def test_a_pooling_at_the_end_is_left_to_the_regions():
    layers = {"conv": nn.Conv2d(3, 4, 3, 4, 1), "more": nn.Conv2d(4, 4, 3, 2, 1), "pool": nn.MaxPool2d(2)}
    trunk = trunk_of(layers)
    assert (trunk.taps, trunk.strides) == (("conv", "more"), (4, 8))
    assert [place.stride for place in survey(layers)] == [4, 8, 16]


@pytest.mark.parametrize("name", ["densenet121", "shufflenet_v2_x0_5", "timm:resnet10t", "timm:efficientnet_lite0"])
def test_frozen_norms_learn_nothing_and_change_nothing(trunks, name):
    trunk = copy.deepcopy(trunks[name])
    torch.manual_seed(1)
    for norm in (module for module in trunk.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_var.uniform_(0.5, 1.5)
        norm.running_mean.uniform_(-0.2, 0.2)
    with torch.no_grad():
        expected = trunk.double()(picture().double())
    if not name.startswith("timm:"):
        fold_frozen_norm(trunk)
    freeze_norms(trunk)
    assert not [m for m in trunk.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        found = trunk.train()(picture().double())
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)
    norms = [m for m in trunk.modules() if isinstance(m, BATCH_NORMS)]
    assert not [p for norm in norms for p in norm.parameters()]


@pytest.mark.parametrize("name", ["mnasnet0_5", "timm:efficientnet_lite0"])
def test_group_norm_takes_the_place_of_every_batch_norm(name):
    trunk = network(name, group_norm).eval()
    assert not [m for m in trunk.modules() if isinstance(m, BATCH_NORMS)]
    assert [m for m in trunk.modules() if isinstance(m, nn.GroupNorm)]
    assert all(torch.isfinite(level).all() for level in trunk(picture()))


def test_a_network_with_layer_norms_keeps_them(trunks):
    names = set(trunks["convnext_tiny"].state_dict())
    assert set(network("convnext_tiny", group_norm).state_dict()) == names


@pytest.mark.parametrize("name", TIMM)
def test_timms_networks_are_read_at_strides_that_double(trunks, name):
    trunk = trunks[name]
    assert trunk.taps[-1] == TIMM[name]
    assert trunk.strides == (4, 8, 16, 32)
    with torch.no_grad():
        maps = trunk(picture())
    assert [tuple(level.shape[1:]) for level in maps] == [
        (channels, 64 // stride, 96 // stride) for channels, stride in zip(trunk.channels, trunk.strides, strict=True)
    ]


def test_timms_classifiers_files_fit_its_feature_extractors(tmp_path):
    timm = pytest.importorskip("timm")
    for name in ("convnext_atto", "efficientnet_lite0"):
        whole = timm.create_model(name)
        torch.save(whole.state_dict(), tmp_path / "weights.pth")
        trunk = network(f"timm:{name}")
        report = load_backbone_weights(trunk, f"timm:{name}", tmp_path / "weights.pth")
        assert report.kept == ()
        first = next(iter(trunk.parameters()))
        assert any(torch.equal(first, value) for value in whole.state_dict().values())


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("timm:resnet19", r"timm has no resnet19 \(did you mean timm:resnet18\?\)"),
        ("timm:maxvit_tiny_tf_224", "gives no features of pictures of any size"),
    ],
)
def test_what_timm_lacks_or_cannot_is_told_in_a_line(name, problem):
    with pytest.raises(ConfigError, match=problem) as caught:
        network(name)
    assert "\n" not in str(caught.value)


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ConfigError, match=r"pip install 'rcnn\[timm\]'"):
        network("timm:resnet18")


def test_timms_weights_without_a_network_ask_for_a_file(monkeypatch):
    def offline(*_, pretrained, **__):
        if pretrained:
            raise OSError("no route\nto host")
        return nn.Conv2d(3, 4, 3)

    monkeypatch.setattr(timm_networks, "_network", lambda name, pretrained: offline(pretrained=pretrained))
    with pytest.raises(WeightsError, match=r"no route.*pass --backbone-weights FILE or none"):
        load_backbone_weights(nn.Conv2d(3, 4, 3), "timm:resnet18", None)


def test_maps_that_do_not_double_are_refused_under_a_pyramid_and_read_alone():
    settings = {"model.backbone": "timm:vit_tiny_patch16_224", "model.norm": "frozen"}
    with pytest.raises(ConfigError, match=r"strides 16, 16, 16 do not double; pass model.neck=none"):
        build.detector(override(Config(), None, (), settings), 2)
    alone = settings | {"model.neck": "none", "model.rpn.anchor_sizes": [[32]]}
    model, _ = build.detector(override(Config(), None, (), alone), 2)
    assert model.backbone.strides == (16,)


@pytest.mark.parametrize("name", ["swin_t", "timm:efficientnet_lite0"])
def test_stages_that_cannot_be_told_apart_are_not_frozen_by_halves(trunks, name):
    trunk = copy.deepcopy(trunks[name])
    if name == "swin_t":
        trunk.freeze(1)
        assert not trunk.get_submodule("1").training
        assert not any(p.requires_grad for p in trunk.get_submodule("1").parameters())
        assert all(p.requires_grad for p in trunk.get_submodule("3").parameters())
        return
    with pytest.raises(ConfigError, match="the network has 0 stages"):
        trunk.freeze(1)


def test_weights_that_expect_other_colours_are_told_of(caplog):
    settings = {"model.backbone": "timm:tf_efficientnet_lite0", "model.norm": "frozen"}
    _warn_of_colours(override(Config(), None, (), settings))
    assert "--set 'input.mean=[0.5, 0.5, 0.5]' --set 'input.std=[0.5, 0.5, 0.5]'" in caplog.text
    caplog.clear()
    _warn_of_colours(override(Config(), None, (), settings | {"model.backbone": "timm:resnet18"}))
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["mnasnet0_5", "timm:resnet10t"])
def test_shapes_are_fixed_and_nothing_waits_for_the_device(name, monkeypatch):
    monkeypatch.setattr(build.model, "quickened", lambda model: model)
    config = override(preset("demo"), None, (), TINY | {"model.backbone": name, "model.norm": "frozen"})
    with FakeTensorMode(), torch.device("cuda"):
        model, _ = build.detector(config, 2)
        batch, targets = fake_batch()
        with NothingWaits(), torch.no_grad():
            assert model.eval()(batch).boxes.device.type == "cuda"
        (stage,) = build.stages(model.train(), config)
        with NothingWaits():
            assert all(value.requires_grad for value in stage.objective(batch, targets).values())


def test_shapes_of_windows_are_fixed_too(trunks):
    with FakeTensorMode(allow_non_fake_inputs=True):  # which knows no numbers: what shapes depend on them would raise
        maps = trunks["swin_t"](torch.zeros(2, 3, 64, 96))
    assert [tuple(level.shape) for level in maps] == [
        (2, width, 64 // stride, 96 // stride) for width, stride in zip(LIGHT["swin_t"], (4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "timm:resnet10t"])
def test_a_detector_on_it_learns_and_predicts(name):
    config = override(preset("demo"), None, (), TINY | {"model.backbone": name, "model.norm": "frozen"})
    torch.manual_seed(0)
    model, _ = build.detector(config, 2)
    samples = shape_data(2, 0).splits["train"]
    batch = next(Batches(samples, ("disc", "square"), build.preprocess(config.input), 2).epoch(1))
    (stage,) = build.stages(model.train(), config)
    losses = stage.objective(*batch.on(torch.device("cpu")))
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(p.grad is not None for p in model.backbone.parameters() if p.requires_grad)
    with torch.no_grad():
        assert model.eval()(batch.batch).boxes.shape[0] == 2
    assert len(list(dense_parts(model))) == 3
