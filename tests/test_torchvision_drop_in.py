"""Torchvision's call convention: a script changes one import, and its loop, its losses and its detections stay."""

import copy

import numpy as np
import pytest
import torch
from conftest import shape_sample
from torchvision.models import detection as tv
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision_random import MOBILE_320

from rcnn.bench.calibrated import calibrated, frozen, resized
from rcnn.bench.pictures import photo
from rcnn.bench.predict import share_of, untrained
from rcnn.compat import torchvision as ours
from rcnn.compat.torchvision.module import TorchvisionDetector
from rcnn.errors import ConfigError
from rcnn.structures import Detections

SMALL = {
    "weights": None,
    "weights_backbone": None,
    "min_size": 64,
    "max_size": 96,
    "box_batch_size_per_image": 32,
    "rpn_post_nms_top_n_train": 100,
    "rpn_post_nms_top_n_test": 50,
}
LOSSES = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}


def pictures_and_targets(count=2):
    samples = [shape_sample(str(n)) for n in range(count)]
    images = [torch.from_numpy(np.array(sample.picture)).permute(2, 0, 1) / 255 for sample in samples]
    labels = {"disc": 1, "square": 2}
    return images, [
        {"boxes": torch.tensor(s.boxes), "labels": torch.tensor([labels[name] for name in s.names])} for s in samples
    ]


def train_one_epoch(model, optimizer, loader):
    """As the loop of torchvision's references goes."""
    model.train()
    sums = []
    for images, targets in loader:
        losses = model(list(images), [dict(target) for target in targets])
        loss = sum(losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sums.append(loss.item())
    return sums


def script(build):
    """A user's script; which library `build` is from is all that may change."""
    torch.manual_seed(0)
    model = build(num_classes=3, **SMALL)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.005, momentum=0.9)
    batch = pictures_and_targets()
    sums = train_one_epoch(model, optimizer, [batch] * 12)
    model.eval()
    with torch.no_grad():
        return sums, model(batch[0])


@pytest.mark.parametrize("library", [tv, ours], ids=["torchvision", "rcnn"])
def test_the_same_script_learns_with_either_library(library):
    sums, found = script(library.fasterrcnn_mobilenet_v3_large_320_fpn)
    assert np.mean(sums[-3:]) < 0.7 * sums[0]
    assert [set(one) for one in found] == [{"boxes", "labels", "scores"}] * 2
    assert all(one["boxes"].shape == (len(one["scores"]), 4) for one in found)


def test_the_losses_have_torchvisions_names_and_begin_as_torchvisions_do():
    images, targets = pictures_and_targets()
    begun = []
    for library in (tv, ours):
        torch.manual_seed(1)
        losses = library.fasterrcnn_mobilenet_v3_large_320_fpn(num_classes=3, **SMALL).train()(images, targets)
        assert set(losses) == LOSSES
        begun.append({name: loss.item() for name, loss in losses.items()})
    for name in ("loss_classifier", "loss_objectness"):
        assert begun[0][name] == pytest.approx(begun[1][name], rel=0.35)  # other random heads: log 3 and log 2, nearly


def test_pictures_give_the_detections_that_torchvision_gives_each_by_itself():
    """In a batch of several sizes torchvision proposes in the padding too, and finds other things than alone."""
    pictures = [photo(150, 200, seed=1), photo(180, 130, seed=2)]
    plain = resized(untrained(MOBILE_320, 20), 128, 256)
    theirs = frozen(calibrated(plain, pictures[:1]), 1e-5).eval()
    model, _ = ours.from_state(MOBILE_320, theirs.state_dict())
    config = ours.CONFIGS[MOBILE_320]
    config = config.model_copy(update={"input": config.input.model_copy(update={"short": 128, "long": 256})})
    own = TorchvisionDetector(model, config, (128,)).eval()
    images = [torch.from_numpy(picture.copy()).permute(2, 0, 1) / 255 for picture in pictures]
    with torch.no_grad():
        found, expected = (
            [Detections(row["boxes"], row["scores"], row["labels"], ()) for image in images for row in net([image])]
            for net in (own, theirs)
        )
    assert len(expected[0]) > 20
    assert share_of(found, expected, 0.98, pixels=0.01, score=1e-4) >= 0.98


def test_another_predictor_is_put_in_as_tutorials_do():
    model = ours.fasterrcnn_mobilenet_v3_large_320_fpn(**SMALL)
    wide = model.roi_heads.box_predictor.cls_score.in_features
    model.roi_heads.box_predictor = FastRCNNPredictor(wide, num_classes=3)
    images, targets = pictures_and_targets()
    assert set(model.train()(images, targets)) == LOSSES
    with torch.no_grad():
        labels = torch.cat([row["labels"] for row in model.eval()(images)])
    assert set(labels.tolist()) <= {1, 2}
    state = copy.deepcopy(model).state_dict()
    assert state["model.head.cls_score.weight"].shape == (3, wide)
    assert not any(name.startswith("objective") for name in state)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"boxes": torch.tensor([[5.0, 5, 5, 9]]), "labels": torch.tensor([1])}, "without area"),
        ({"boxes": torch.tensor([[1.0, 1, 5, 9]]), "labels": torch.tensor([3])}, r"not all in 1\.\.2"),
        ({"boxes": torch.tensor([[1.0, 1, 5, 9]]), "labels": torch.tensor([1, 2])}, "1 boxes but 2 labels"),
    ],
)
def test_targets_that_cannot_be_learned_from_are_named(target, said):
    model = ours.fasterrcnn_mobilenet_v3_large_320_fpn(num_classes=3, **SMALL).train()
    with pytest.raises(ValueError, match=said):
        model(pictures_and_targets(1)[0], [target])
    with pytest.raises(ValueError, match="targets should not be None"):
        model(pictures_and_targets(1)[0])


def test_a_picture_without_objects_teaches():
    model = ours.fasterrcnn_mobilenet_v3_large_320_fpn(num_classes=3, **SMALL).train()
    images, _ = pictures_and_targets(1)
    losses = model(images, [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}])
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert losses["loss_box_reg"] == 0


def test_torchvisions_arguments_are_settings_and_others_are_refused():
    model = ours.fasterrcnn_resnet50_fpn(num_classes=2, **SMALL, box_score_thresh=0.3)
    assert (model.model.postprocess.score, model.model.limits.after) == (0.3, 50)
    with pytest.raises(ConfigError, match=r"^box_head: .* takes no such argument"):
        ours.fasterrcnn_resnet50_fpn(num_classes=2, **SMALL, box_head=None)
