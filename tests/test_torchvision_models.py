"""Torchvision's own models beside this library's network with their weights: the same detections."""

import copy
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import detection as tv
from torchvision.ops import FrozenBatchNorm2d, box_iou
from torchvision_random import GENERATED, MOBILE, MOBILE_320, NAMES, torchvisions

from rcnn.api import load
from rcnn.bench.calibrated import calibrated, resized, tensor
from rcnn.compat.torchvision import CONFIGS, WEIGHTS, from_state
from rcnn.data.preprocess import Preprocess
from rcnn.errors import WeightsError
from rcnn.inference.predictor import Detector

REAL = Path(__file__).parents[2] / "shared" / "data" / "coco_tiny" / "val2017"


def ours(name, theirs):
    """This library's detector with the weights and sizes of torchvision's model."""
    model, class_names = from_state(name, theirs.state_dict())
    model.limits = replace(model.limits, after=theirs.rpn._post_nms_top_n["testing"])
    return Detector(model, Preprocess(theirs.transform.min_size[0], theirs.transform.max_size, "exact32"), class_names)


def assert_same_detections(name, theirs, pictures):
    """Scores within 1e-5, boxes within 1e-3 pixels, in the same order but for ties; and enough to compare.

    Of two overlapping boxes whose scores tie, rounding decides which one suppresses the other: one in fifty may be
    such a pair's other box.
    """
    for found, picture in zip(ours(name, theirs).predict(pictures), pictures, strict=True):
        with torch.no_grad():
            (expected,) = theirs([tensor(picture)])
        assert len(found) >= 30
        assert len(set(found.labels.tolist())) >= 5
        torch.testing.assert_close(found.scores, expected["scores"], rtol=0, atol=1e-5)
        tied = (found.scores[:, None] - expected["scores"]).abs() <= 1e-5
        tied &= found.labels[:, None] == expected["labels"]
        same = tied & ((found.boxes[:, None] - expected["boxes"]).abs() <= 1e-3).all(-1)
        rivals = tied & (box_iou(found.boxes, expected["boxes"]) > 0.5)
        for side in (0, 1):
            assert same.any(dim=side).float().mean() >= 0.98
            assert rivals.any(dim=side).all()


@pytest.mark.parametrize("name", CONFIGS)
def test_the_same_weights_give_torchvisions_detections(name):
    assert_same_detections(name, torchvisions(name), GENERATED)


@pytest.mark.skipif(not REAL.is_dir(), reason="COCO's photographs are not here")
@pytest.mark.parametrize("name", CONFIGS)
def test_the_same_weights_give_torchvisions_detections_in_photographs(name):
    short, long = (CONFIGS[name].input.short, CONFIGS[name].input.long) if "mobilenet" in name else (224, 400)
    pictures = [np.array(Image.open(REAL / f"{number:012}.jpg")) for number in (404484, 125952)]  # small, narrow
    theirs = calibrated(resized(copy.deepcopy(torchvisions(name)), short, long), pictures)
    assert_same_detections(name, theirs, pictures)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_settings_are_torchvisions(name):
    config, weightless = CONFIGS[name], {"weights": None, "weights_backbone": None}
    with torch.device("meta"):
        theirs = getattr(tv, name)(**weightless)
    rpn, head, found = config.model.rpn, config.model.head, config.model.detections
    assert (config.input.short, config.input.long) == (theirs.transform.min_size[-1], theirs.transform.max_size)
    assert list(config.input.mean) == theirs.transform.image_mean
    assert list(config.input.std) == theirs.transform.image_std
    assert {"training": rpn.train_before, "testing": rpn.before} == theirs.rpn._pre_nms_top_n
    assert {"training": rpn.train_after, "testing": rpn.after} == theirs.rpn._post_nms_top_n
    assert (rpn.nms, rpn.score) == (theirs.rpn.nms_thresh, theirs.rpn.score_thresh)
    assert (rpn.positive_iou, rpn.negative_iou) == matcher_of(theirs.rpn)
    assert (rpn.samples, rpn.positive_fraction) == sampler_of(theirs.rpn)
    assert (head.positive_iou, head.negative_iou) == matcher_of(theirs.roi_heads)
    assert (head.samples, head.positive_fraction) == sampler_of(theirs.roi_heads)
    assert head.box_weights == theirs.roi_heads.box_coder.weights
    assert (found.score, found.nms) == (theirs.roi_heads.score_thresh, theirs.roi_heads.nms_thresh)
    assert found.maximum == theirs.roi_heads.detections_per_img
    assert found.candidates >= rpn.after * int(1 / found.score)  # so many can score above the threshold


def matcher_of(part):
    return part.proposal_matcher.high_threshold, part.proposal_matcher.low_threshold


def sampler_of(part):
    return part.fg_bg_sampler.batch_size_per_image, part.fg_bg_sampler.positive_fraction


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The folder in which torch's hub keeps downloads, empty; and no network."""

    def unreachable(*_, **__):
        raise URLError("no route\nto host")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def cached(hub):
    return hub / WEIGHTS[MOBILE_320].url.rpartition("/")[2]


def saved(state, path):
    torch.save(dict(state), path)
    return path


def first_weight(detector):
    return detector.model.rpn.head.conv[0][0].weight


def test_a_file_of_weights_is_loaded(tmp_path):
    theirs = torchvisions(MOBILE_320)
    loaded = load(f"torchvision:{MOBILE_320}", "cpu", weights=saved(theirs.state_dict(), tmp_path / "mine.pth"))
    assert torch.equal(first_weight(loaded), theirs.rpn.head.conv[0][0].weight)
    assert loaded.class_names == NAMES
    assert loaded.preprocess == Preprocess(320, 640, "exact32")


def test_weights_in_the_hubs_cache_are_loaded(hub):
    theirs = torchvisions(MOBILE_320)
    saved(theirs.state_dict(), cached(hub))
    loaded = load(f"torchvision:{MOBILE_320}", "cpu")
    assert torch.equal(first_weight(loaded), theirs.rpn.head.conv[0][0].weight)


def refusal(call):
    """The one line with which a call is refused."""
    with pytest.raises(WeightsError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"a letter"], ids=["absent", "empty", "garbage"])
def test_without_weights_the_error_names_what_to_pass(hub, capsys, content):
    if content is not None:
        cached(hub).write_bytes(content)
    message = refusal(lambda: load(f"torchvision:{MOBILE_320}", "cpu"))
    assert MOBILE_320 in message
    assert "pass --weights FILE" in message


def test_a_download_with_a_wrong_hash_is_refused(hub, monkeypatch, capsys):
    def forged(*_, **__):
        raise RuntimeError('invalid hash value (expected "907ea3f9", got "0000")')

    monkeypatch.setattr(torch.hub, "download_url_to_file", forged)
    assert "invalid hash value" in refusal(lambda: load(f"torchvision:{MOBILE_320}", "cpu"))


def test_an_unknown_name_is_refused():
    assert MOBILE in refusal(lambda: load("torchvision:maskrcnn", "cpu"))


def without(state, key):
    return {name: value for name, value in state.items() if name != key}


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {"conv1.weight": torch.zeros(3)},
        lambda state: without(state, "rpn.head.cls_logits.bias"),
        lambda state: state | {"mask.weight": torch.zeros(3)},
        lambda state: state | {"rpn.head.cls_logits.bias": torch.zeros(3)},
    ],
    ids=["classifier", "missing", "unexpected", "shape"],
)
def test_weights_that_do_not_fit_are_refused(change):
    state = dict(torchvisions(MOBILE_320).state_dict())
    assert "state dict" in refusal(lambda: from_state(MOBILE_320, change(state)))


def test_names_of_torchvision_before_0_13_are_known():
    state = torchvisions(MOBILE_320).state_dict()
    old = {
        name.replace("rpn.head.conv.0.0.", "rpn.head.conv.").replace("_blocks.0.0.", "_blocks.0."): value
        for name, value in state.items()
    }
    assert {"rpn.head.conv.weight", "backbone.fpn.inner_blocks.0.weight"} <= old.keys()
    model, _ = from_state(MOBILE_320, old)
    for name, value in from_state(MOBILE_320, state)[0].state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_cocos_class_names_come_with_cocos_number_of_classes():
    state = dict(torchvisions(MOBILE_320).state_dict())
    for part, rows in (("cls_score", 91), ("bbox_pred", 364)):
        state[f"roi_heads.box_predictor.{part}.weight"] = torch.zeros(rows, 1024)
        state[f"roi_heads.box_predictor.{part}.bias"] = torch.zeros(rows)
    _, names = from_state(MOBILE_320, state)
    assert (len(names), len(set(names)), names[0], names[-1]) == (90, 90, "person", "toothbrush")


@pytest.mark.parametrize(("counted", "epsilon"), [(True, 1e-5), (False, 0.0)])
def test_published_resnet50_weights_are_read_with_torchvisions_epsilon(counted, epsilon):
    name = "fasterrcnn_resnet50_fpn"
    state = dict(torchvisions(name).state_dict())
    if not counted:  # as published: frozen norms, which count no batches
        state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    model, _ = from_state(name, state)
    norm = FrozenBatchNorm2d(64, eps=epsilon)
    norm.load_state_dict({key: state[f"backbone.body.bn1.{key}"] for key in norm.state_dict()})
    expected = norm.weight * (norm.running_var + epsilon).rsqrt()
    assert torch.equal(model.backbone.body.conv1.scale, expected)
