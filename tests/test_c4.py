"""A residual network cut in two (C4): regions are read at stride 16, and each goes through the last stage by itself."""

import pytest
import torch
import torchvision
from conftest import TINY
from method_variants import ONE_MAP
from torch import nn

from rcnn import build
from rcnn.backbones import network
from rcnn.backbones.norm import FoldedConv2d
from rcnn.backbones.trunk import split
from rcnn.errors import ConfigError
from rcnn.presets.overrides import override, preset

C4 = ONE_MAP | {"model.neck": "c4", "model.head.average": True, "model.head.widths": [], "model.head.pool": 14}


def config_of(backbone="resnet18", **more):
    return override(preset("demo"), None, (), TINY | C4 | {"model.backbone": backbone, "model.norm": "frozen"} | more)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Torchvision's ResNet-18 with norms that are all different, and a C4 detector with its weights."""
    torch.manual_seed(0)
    whole = torchvision.models.resnet18().eval()
    for norm in (module for module in whole.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_var.uniform_(0.5, 1.5)
        norm.running_mean.uniform_(-0.5, 0.5)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(whole.state_dict(), path)
    model, report = build.detector(config_of(**{"model.frozen_stages": 1}), 2, path, pretrained=True)
    assert report.kept == ()
    return whole, model.eval()


def test_regions_are_read_from_the_map_at_stride_16(pretrained):
    whole, model = pretrained
    picture = torch.rand(1, 3, 64, 96)
    seen = {}
    whole.layer3.register_forward_hook(lambda _, __, out: seen.update(map=out))
    with torch.no_grad():
        whole(picture)
        (features,) = model.features(picture)
    torch.testing.assert_close(features, seen["map"], rtol=1e-4, atol=1e-4)
    assert (model.backbone.strides, model.backbone.channels) == ((16,), 256)
    assert model.rpn.head.cls_logits.in_channels == 256


def test_the_head_is_the_last_stage_with_its_pretrained_weights_then_the_mean(pretrained):
    whole, model = pretrained
    pooled = torch.rand(5, 256, 14, 14)
    with torch.no_grad():
        expected = whole.layer4(pooled).mean((2, 3))
        found = model.head.vectors(pooled)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert model.head.cls_score.in_features == 512


def test_regions_are_pooled_on_14_cells_of_which_the_stage_leaves_7(pretrained):
    _, model = pretrained
    boxes = torch.tensor([[[4.0, 4.0, 40.0, 50.0], [0.0, 0.0, 96.0, 64.0]]])
    pooled = model.describe(model.features(torch.rand(1, 3, 64, 96)), boxes)
    assert pooled.shape == (2, 256, 14, 14)
    assert model.head.stage(pooled).shape == (2, 512, 7, 7)


def test_the_names_of_parameters_are_the_networks_in_backbone_and_head(pretrained):
    _, model = pretrained
    names = {name for name, _ in model.named_parameters()}
    assert {"backbone.body.conv1.weight", "backbone.body.layer3.1.conv2.weight"} <= names
    assert {"head.stage.layer4.0.conv1.weight", "head.stage.layer4.0.downsample.0.weight"} <= names
    assert {"head.cls_score.weight", "head.bbox_pred.weight"} <= names
    assert not [name for name in names if "backbone.body.layer4" in name or name.startswith("head.layers")]


def test_norms_are_frozen_and_stages_held_as_ever(pretrained):
    _, model = pretrained
    assert not [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert any(isinstance(m, FoldedConv2d) for m in model.head.stage.modules())
    trains = {name.split(".")[1]: p.requires_grad for name, p in model.backbone.named_parameters()}
    assert trains == {"conv1": False, "layer1": False, "layer2": True, "layer3": True}
    assert all(p.requires_grad for p in model.head.parameters())


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_other_norms_stand_in_the_head_too(norm):
    model, _ = build.detector(config_of(**{"model.norm": norm}), 2)
    kind = {"group": nn.GroupNorm, "batch": nn.BatchNorm2d}[norm]
    assert any(isinstance(m, kind) for m in model.head.stage.modules())


@pytest.mark.parametrize(
    ("sets", "problem"),
    [
        ({"model.backbone": "zf"}, r"c4 cuts a network after its map at stride 16, and zf cannot be"),
        ({"model.backbone": "swin_t"}, r"and swin_t cannot be"),
        ({"model.frozen_stages": 4}, r"model.frozen_stages: 4, but the network has 3 stages"),
    ],
)
def test_what_cannot_be_cut_is_refused(sets, problem):
    with pytest.raises(ConfigError, match=problem):
        build.detector(config_of(**sets), 2)


def test_svms_on_a_c4_head_are_refused():
    settings = {"model.method": "fast-rcnn", "model.head.classifier": "svm"}
    with pytest.raises(ConfigError, match=r"model.head.classifier: svm does not go with model.neck=c4"):
        build.refuse(config_of(**settings))


def test_the_preset_is_that_of_the_paper_on_residual_networks():
    model = preset("faster-rcnn-r50-c4").model
    assert (model.backbone, model.neck, model.frozen_stages) == ("resnet50", "c4", 1)
    assert (model.head.pool, model.head.average, model.head.widths) == (14, True, ())
    assert model.rpn.anchor_sizes == ((32, 64, 128, 256, 512),)


def test_a_trunk_without_a_stage_to_leave_is_not_split():
    assert split(network("small"), 32) is None
    front, rest = split(network("small"), 16)
    assert (front.taps, front.strides) == (("stage1", "stage2", "stage3"), (4, 8, 16))
    assert [name for name, _ in rest.named_children()] == ["stage4"]
