"""The networks under a pyramid, their frozen norms, their weights, and the RPN's head on sampled anchors."""

import copy
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rcnn.backbones import NETWORKS, PyramidBackbone, fold_frozen_norm, load_backbone_weights, settle_norms
from rcnn.backbones import weights as backbone_weights
from rcnn.backbones.networks import WEIGHTS, group_norm
from rcnn.backbones.norm import BATCH_NORMS, FoldedConv2d
from rcnn.errors import WeightsError
from rcnn.proposals.rpn import RPNHead


def network(name, norm=None, seed=0):
    torch.manual_seed(seed)
    return NETWORKS[name](norm)


def with_lively_norms(module, seed=1):
    """The module in double precision, its norms with statistics and weights that are all different."""
    generator = torch.Generator().manual_seed(seed)
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        for tensor, centre in ((norm.running_var, 1.0), (norm.weight, 0.5), (norm.running_mean, 0), (norm.bias, 0)):
            tensor.data = centre + (torch.rand(tensor.shape, generator=generator) - 0.5) * 0.5
        norm.requires_grad_(False)
    return module.double().eval()


def picture(height=64, width=96, dtype=torch.float64):
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(2), dtype=dtype)


def close(actual, expected):
    """Equal but for rounding, in double precision, measured by the largest value."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-9 * float(expected.detach().abs().max()))


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"alexnet", "vgg-m"}))  # whose maps lack a cell
def test_the_taps_have_the_strides_and_channels_that_they_claim(name):
    trunk = network(name).eval()
    with torch.no_grad():
        features = trunk(picture(dtype=torch.float32))
    assert [level.shape[1] for level in features] == list(trunk.channels)
    assert [(64 // level.shape[2], 96 // level.shape[3]) for level in features] == [(s, s) for s in trunk.strides]


@pytest.mark.parametrize("name", NETWORKS)
def test_folding_frozen_norms_changes_neither_features_nor_gradients(name):
    original = with_lively_norms(network(name))
    folded = copy.deepcopy(original)
    fold_frozen_norm(folded)
    assert not [m for m in folded.modules() if isinstance(m, BATCH_NORMS)]
    outputs = []
    for trunk in (original, folded):
        features = trunk(picture())
        torch.stack([level.square().mean() for level in features]).sum().backward()
        outputs.append(features)
    for expected, actual in zip(*outputs, strict=True):
        close(actual, expected)
    gradients = {key: p.grad for key, p in original.named_parameters() if p.requires_grad}
    assert gradients.keys() == {key for key, p in folded.named_parameters()}
    for key, parameter in folded.named_parameters():
        close(parameter.grad, gradients[key])


def test_a_settled_network_gives_the_same_and_holds_plain_convolutions():
    block = with_lively_norms(
        nn.Sequential(nn.Conv2d(4, 8, 3, 2, 2, dilation=2, groups=2), nn.BatchNorm2d(8), nn.Conv2d(8, 5, 1))
    )
    fold_frozen_norm(block)
    image = torch.rand(1, 4, 12, 14, dtype=block[0].weight.dtype)
    expected = block(image)
    settle_norms(block)
    assert not [m for m in block.modules() if isinstance(m, FoldedConv2d)]
    assert torch.equal(block(image), expected)
    assert not block[0].weight.requires_grad


def test_a_convolution_with_a_bias_before_its_norm_is_folded_too():
    block = with_lively_norms(nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.BatchNorm2d(5), nn.ReLU()))
    expected = block(picture())
    fold_frozen_norm(block)
    close(block(picture()), expected)


def test_group_norm_divides_any_number_of_channels():
    for channels in (24, 40, 112, 160, 960, 7):
        group_norm(channels)(torch.randn(2, channels, 3, 3))


def test_frozen_stages_are_those_up_to_the_tap():
    trunk = network("resnet18")
    trunk.freeze(0)
    assert all(p.requires_grad for p in trunk.parameters())
    trunk.freeze(2)
    trains = {name.split(".")[0]: p.requires_grad for name, p in trunk.named_parameters()}
    expected = {"conv1": False, "bn1": False, "layer1": False, "layer2": False, "layer3": True, "layer4": True}
    assert trains == expected


def test_the_pyramid_has_one_level_more_than_its_network():
    backbone = PyramidBackbone(network("small"), channels=16)
    features = backbone(picture(128, 64, torch.float32))
    assert [tuple(level.shape[1:]) for level in features] == [
        (16, 32, 16), (16, 16, 8), (16, 8, 4), (16, 4, 2), (16, 2, 1),
    ]  # fmt: skip
    assert backbone.strides == (4, 8, 16, 32)


def saved(state, path):
    (save_file if path.suffix == ".safetensors" else torch.save)(state, path)
    return path


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "features.", "module.", "backbone.", "backbone.body.", "module.features."])
def test_weights_are_read_from_a_file_whatever_prefix_its_names_have(tmp_path, suffix, prefix):
    state = network("small", seed=1).state_dict()
    path = saved({prefix + name: value for name, value in state.items()}, tmp_path / f"weights{suffix}")
    trunk = network("small", seed=2)
    report = load_backbone_weights(trunk, "small", path)
    assert all(torch.equal(value, state[name]) for name, value in trunk.state_dict().items())
    assert (report.kept, report.skipped) == ((), ())
    assert set(report.loaded) == {name for name in state if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_weights_inside_a_checkpoint_are_found(tmp_path, key):
    state = network("small", seed=1).state_dict()
    path = saved({key: state, "epoch": 3}, tmp_path / "checkpoint.pth")
    trunk = network("small", seed=2)
    load_backbone_weights(trunk, "small", path)
    assert torch.equal(trunk.stem[0].weight, state["stem.0.weight"])


def test_half_precision_weights_are_cast(tmp_path):
    state = {k: v.half() if v.is_floating_point() else v for k, v in network("small", seed=1).state_dict().items()}
    trunk = network("small", seed=2)
    load_backbone_weights(trunk, "small", saved(state, tmp_path / "half.pth"))
    assert trunk.stem[0].weight.dtype == torch.float32
    assert torch.equal(trunk.stem[0].weight, state["stem.0.weight"].float())


def test_the_report_says_what_was_loaded_kept_and_skipped(tmp_path):
    state = network("small", seed=1).state_dict()
    del state["stage4.0.0.weight"]
    state |= {"stage3.0.0.weight": torch.zeros(1), "classifier.weight": torch.zeros(10, 192)}
    trunk = network("small", seed=2)
    before = trunk.stage4[0][0].weight.clone()
    report = load_backbone_weights(trunk, "small", saved(state, tmp_path / "part.pth"))
    assert set(report.kept) == {"stage3.0.0.weight", "stage4.0.0.weight"}
    assert set(report.skipped) == {"stage3.0.0.weight", "classifier.weight"}
    assert torch.equal(trunk.stage4[0][0].weight, before)
    assert ("stem", 5, 0) in report.rows()
    assert ("stage4", 4, 1) in report.rows()


def refusal(call):
    """The one line with which a call is refused."""
    with pytest.raises(WeightsError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_weights_of_another_network_are_refused(tmp_path):
    path = saved(network("small").state_dict(), tmp_path / "small.pth")
    message = refusal(lambda: load_backbone_weights(network("resnet18"), "resnet18", path))
    assert str(path) in message
    assert "resnet18" in message
    assert "--backbone-weights" in message


@pytest.mark.parametrize("name", ["broken.pth", "broken.safetensors", "empty.pth", "empty.safetensors"])
def test_a_file_that_holds_no_weights_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"" if name.startswith("empty") else b"this is a letter\nto a friend")
    assert str(path) in refusal(lambda: load_backbone_weights(network("small"), "small", path))


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}, torch.zeros(3)], ids=str)
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = saved(content, tmp_path / "something.pth")
    assert "state dict" in refusal(lambda: load_backbone_weights(network("small"), "small", path))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    path = tmp_path / "nowhere.pth"
    assert f"{path}: no such file" in refusal(lambda: load_backbone_weights(network("small"), "small", path))


class Intruder:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path):
    path = saved({"stem.0.weight": Intruder(tmp_path / "owned")}, tmp_path / "evil.pth")
    assert str(path) in refusal(lambda: load_backbone_weights(network("small"), "small", path))
    assert not (tmp_path / "owned").exists()


def failing(error):
    def get_state_dict(**_):
        raise error

    return SimpleNamespace(get_state_dict=get_state_dict)


@pytest.mark.parametrize(
    "error",
    [URLError("no route\nto host"), RuntimeError("invalid hash value"), EOFError(), TimeoutError("timed out")],
    ids=lambda error: type(error).__name__,
)
def test_without_a_network_the_error_says_what_to_pass(monkeypatch, error):
    monkeypatch.setitem(WEIGHTS, "resnet18", failing(error))
    message = refusal(lambda: load_backbone_weights(network("resnet18"), "resnet18", None))
    assert "resnet18" in message
    assert "--backbone-weights FILE or none" in message


def test_without_a_file_torchvisions_weights_are_taken(monkeypatch):
    state = network("resnet18", seed=1).state_dict() | {"fc.weight": torch.zeros(2, 512)}
    source = SimpleNamespace(get_state_dict=lambda **options: state if options["weights_only"] else None)
    monkeypatch.setitem(WEIGHTS, "resnet18", source)
    trunk = network("resnet18", seed=2)
    assert load_backbone_weights(trunk, "resnet18", None).skipped == ("fc.weight",)
    assert torch.equal(trunk.conv1.weight, state["conv1.weight"])


def test_a_network_without_published_weights_asks_for_a_file():
    assert "pass --backbone-weights FILE or none" in refusal(lambda: backbone_weights.download_state("small"))


@pytest.mark.parametrize("depth", [1, 2])
def test_the_rpn_at_some_anchors_is_the_rpn_everywhere_values_and_gradients(depth):
    torch.manual_seed(0)
    head = RPNHead(channels=6, per_cell=3, depth=depth).double()
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.3)
    shapes = ((5, 7), (3, 4), (2, 1), (1, 1))
    count = 3 * sum(h * w for h, w in shapes)
    features = [torch.randn(2, 6, h, w, dtype=torch.float64, requires_grad=True) for h, w in shapes]
    anchors = torch.stack([torch.randperm(count), torch.arange(count)])  # every place: borders, corners, all levels
    anchors[0, :5] = anchors[0, 5]  # and one of them several times
    inputs = [*features, *head.parameters()]

    logits, deltas = head(features)
    expected = logits.gather(1, anchors), deltas.gather(1, anchors[..., None].expand(-1, -1, 4))
    actual = head.at(features, anchors)
    slopes = [torch.randn_like(part) for part in expected]
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(*(torch.autograd.grad(out, inputs, slopes) for out in (actual, expected)), strict=True):
        torch.testing.assert_close(ours, theirs)
