"""Settings that would train without a word, but not what they say."""

from dataclasses import replace

import pytest
from conftest import TINY, prepare, shape_data
from method_variants import FAST, regions_near

from rcnn.errors import ConfigError
from rcnn.presets.overrides import override, preset
from rcnn.sample import DataSet

SVM = {"model.head.classifier": "svm"}
UNMOVED = {"model.head.box_loss": 0.0, "model.detections.refine": False}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (FAST | {"training.scheme": "4-step"}, "4-step is no scheme of fast-rcnn; choose auto, multi-task, stage-wise"),
        ({"model.head.classifier": "svm"}, "svm has no stage in faster-rcnn"),
        (FAST | {"model.head.classifier": "svm", "training.scheme": "stage-wise"}, "svm has no stage in fast-rcnn"),
        ({"model.head.measured_boxes": True}, "faster-rcnn has no proposals before it trains"),
        (FAST | {"training.scheme": "stage-wise", "model.head.box_loss": 0.0}, "stage-wise training ends with the box"),
        ({"training.scheme": "exact-joint", "model.head.pooling": "max"}, "gives boxes no gradient"),
        (FAST | {"model.head.box_loss": 0.0}, "nothing teaches the deltas that move the boxes"),
        ({"model.method": "rcnn", "model.head.crop": 48}, "model.neck: rcnn reads one map"),
        (FAST | {"model.head.ridge": True}, "model.head.ridge: is solved for after the SVMs"),
        (FAST | {"loss.objectness": "focal"}, "training.loss.objectness: fast-rcnn has no RPN to learn by it"),
        (FAST | {"loss.proposals": "giou"}, "training.loss.proposals: fast-rcnn has no RPN to learn by it"),
        (FAST | SVM | {"model.head.ridge": True, "loss.boxes": "giou"}, "giou teaches nothing where ridge solves for"),
        (FAST | UNMOVED | {"loss.boxes": "giou"}, "giou teaches nothing where model.head.box_loss is 0"),
        (FAST | SVM | {"loss.regions": "ohem"}, "training.loss.regions: ohem is for the softmax of fast-rcnn and"),
        ({"model.method": "rcnn", "model.neck": "none", "loss.regions": "ohem"}, "training.loss.regions: ohem is for"),
        (
            {"model.neck_norm": "batch", "model.head.convs": 1, "loss.regions": "ohem"},
            "with ohem all regions would count in the head's batch norm",
        ),
        (FAST | SVM | {"training.patience": 1}, "training.patience: before its SVMs the detector is not judged"),
        ({"class_weights": {"cat": 2.0}}, "class_weights: no class 'cat' in the data; name some of disc, square"),
        (
            {"model.method": "rcnn", "model.neck": "none", "model.head.crop": 32, "model.head.context": 16},
            "leave nothing of a crop of 32",
        ),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_before_anything_is_written(tmp_path, settings, message):
    config = override(preset("demo"), None, (), TINY | settings)
    samples = [replace(sample, proposals=regions_near(sample)) for sample in shape_data(1, 0).splits["train"]]
    with pytest.raises(ConfigError, match=message) as caught:
        prepare(DataSet({"train": samples}, ("disc", "square")), tmp_path / "run", config, val_split="none")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
