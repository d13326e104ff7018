"""Every stage of a method on request: the numbers of the forward pass, and what was dropped at each step."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import shape_sample
from method_variants import regions_near, settings_of
from test_fixed_shapes import NothingWaits, fake_batch
from torch._subclasses import FakeTensorMode

from rcnn import build
from rcnn.data.loader import pad_proposals
from rcnn.errors import DataError
from rcnn.inference.predictor import Detector
from rcnn.methods.stages import stages
from rcnn.presets.overrides import override, preset
from rcnn.sample import Sample

SOME = ("rcnn", "sppnet at three scales", "fast-rcnn", "fast-rcnn, svm", "faster-rcnn", "faster-rcnn, one map")
LIMITS = {"model.detections.score": 0.2, "model.detections.maximum": 8, "model.detections.candidates": 14}


def detector_of(name, **settings):
    """A detector of random weights, whose head prefers classes at random."""
    config = override(preset("demo"), None, (), settings_of(name) | settings)
    torch.manual_seed(0)
    model, _ = build.detector(config, 2)
    for name, parameter in model.named_parameters():
        if "cls_score" in name or "svm" in name or "bbox_pred" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return Detector(model, build.preprocess(config.input), ("disc", "square"))


def batch_for(detector, pictures=2):
    samples = [shape_sample(f"s{number}", (70, 85)) for number in range(pictures)]
    size = detector.preprocess.resized((70, 85))
    batch = detector.preprocess.lay_out(
        [s.picture for s in samples], [size] * pictures, detector.preprocess.canvas(size), pictures
    )
    scale = np.array([size[1] / 85, size[0] / 70] * 2, np.float32)
    return replace(batch, proposals=pad_proposals([regions_near(s) * scale for s in samples], 30, pictures))


@pytest.mark.parametrize("name", SOME)
@torch.inference_mode()
def test_the_stages_end_in_the_detections_of_the_forward_pass(name):
    detector = detector_of(name, **LIMITS)
    batch = batch_for(detector)
    expected, seen = detector.model(batch), stages(detector.model, batch)
    assert expected.valid.any()
    for one, other in zip(vars(expected).values(), vars(seen.detections).values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", SOME)
@torch.inference_mode()
def test_each_step_passes_a_part_of_what_the_one_before_passed_and_the_last_is_what_was_found(name):
    detector = detector_of(name, **LIMITS)
    seen = stages(detector.model, batch_for(detector))
    regions, found = seen.regions, seen.detections
    steps = [regions.above, regions.candidates, regions.survives, regions.kept]
    for before, after in pairwise(steps):
        assert not (after & ~before).any()
    assert regions.kept.sum() < regions.above.sum()
    for picture in range(2):
        kept = regions.kept[picture]
        assert sorted(regions.boxes[picture][kept].tolist()) == sorted(
            found.boxes[picture][found.valid[picture]].tolist()
        )
        assert kept.sum(0).tolist() == [int((found.labels[picture] == label).sum()) for label in (1, 2)]


@torch.inference_mode()
def test_each_step_of_the_rpn_passes_a_part_and_the_last_are_the_proposals():
    limits = {"model.rpn.before": 40, "model.rpn.after": 9, "model.rpn.nms": 0.5}
    detector = detector_of("faster-rcnn", **limits)
    model = detector.model
    seen = stages(model.limited(replace(model.limits, side=14.0)), batch_for(detector))
    stage = seen.anchors
    steps = [stage.usable, stage.ranked, stage.large, stage.survives, stage.kept]
    for before, after in pairwise(steps):
        assert after.sum() < before.sum()
        assert not (after & ~before).any()
    for picture in range(2):
        valid = seen.proposals.valid[picture]
        kept = sorted(stage.moved[picture][stage.kept[picture]].tolist())
        assert kept == sorted(seen.proposals.boxes[picture][valid].tolist())
        assert sorted(stage.objectness[picture][stage.kept[picture]].tolist()) == pytest.approx(
            sorted(seen.proposals.scores[picture][valid].tolist())
        )
    ranked = stage.objectness.masked_fill(~stage.ranked, 2).amin(1), stage.objectness.masked_fill(stage.ranked, -1)
    fine = stage.levels == 0
    assert (ranked[0] > 0).all()
    assert stage.ranked[:, fine].sum(1).tolist() == [40, 40]
    least = stage.objectness[:, fine].masked_fill(~stage.ranked[:, fine], 2).amin(1)
    assert (ranked[1][:, fine].masked_fill(~stage.usable[:, fine], -1).amax(1) <= least).all()


@pytest.mark.parametrize("name", ["faster-rcnn", "fast-rcnn, svm"])
def test_stages_have_fixed_shapes_and_never_wait_for_the_device(name, monkeypatch):
    monkeypatch.setattr(build.model, "quickened", lambda model: model)
    config = override(preset("demo"), None, (), settings_of(name))
    with FakeTensorMode(), torch.device("cuda"):
        model, _ = build.detector(config, 5)
        with NothingWaits(), torch.no_grad():
            seen = stages(model.eval(), fake_batch()[0])
    assert seen.regions.boxes.shape == (2, seen.proposals.boxes.shape[1], 5, 4)
    assert seen.regions.kept.device.type == "cuda"


@torch.inference_mode()
def test_regions_are_refined_for_each_class_in_pixels_of_the_original_picture():
    detector = detector_of("fast-rcnn")
    batch = batch_for(detector, 1)
    bigger = replace(batch, original_sizes=batch.original_sizes * 3)
    one, other = stages(detector.model, batch), stages(detector.model, bigger)
    assert torch.allclose(one.regions.boxes * 3, other.regions.boxes, rtol=1e-5)
    assert torch.allclose(one.proposals.boxes * 3, other.proposals.boxes, rtol=1e-5)
    assert one.anchors is None
    assert torch.allclose(one.regions.background, 1 - one.regions.scores.sum(-1))
    assert not torch.equal(one.regions.boxes[:, :, 0], one.regions.boxes[:, :, 1])


def test_a_detector_gives_the_stages_of_pictures_in_turn():
    detector = detector_of("faster-rcnn")
    pictures = [shape_sample("a", (64, 80)).picture, shape_sample("b", (128, 96)).picture]
    found = list(detector.predict(pictures))
    seen = list(detector.stages(pictures))
    assert len(seen) == 2
    for one, other in zip(found, seen, strict=True):
        assert torch.equal(one.boxes, other.detections.boxes[other.detections.valid])
    assert len(list(detector.stages(pictures[0]))) == 1
    with pytest.raises(DataError, match="nowhere"):
        next(detector.stages(Sample("x", "nowhere.jpg")))
