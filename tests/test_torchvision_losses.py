"""What this library and torchvision say of the same mini-batch of the same network: losses and gradients."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import detection as tv
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision_random import CLASSES, GENERATED, MOBILE_320, NAMES, torchvisions

from rcnn import build
from rcnn.bench.calibrated import calibrated, resized, tensor
from rcnn.bench.pictures import photo
from rcnn.bench.same_sample import LOSSES, learning_alike
from rcnn.compat.torchvision import CONFIGS, from_state, rename
from rcnn.config import Config, ModelSettings
from rcnn.data.loader import Batches
from rcnn.data.preprocess import Preprocess
from rcnn.sample import Sample


def labels_of(sample):
    return torch.tensor([NAMES.index(name) + 1 for name in sample.names])


def truths():
    """Two pictures of one size with objects of many sizes."""
    rng = np.random.default_rng(5)
    for number, count in enumerate((6, 11)):
        corner, side = rng.uniform(0, 150, (count, 2)), rng.uniform(20, 140, (count, 2))
        names = tuple(rng.choice(NAMES, count))
        yield Sample(str(number), photo(300, 400, seed=number), np.concatenate((corner, corner + side), axis=1), names)


def resnet18():
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
    )
    theirs = calibrated(resized(tv.FasterRCNN(backbone, CLASSES + 1, rpn_post_nms_top_n_test=100), 224, 320), GENERATED)
    config = Config(model=ModelSettings(backbone="resnet18", norm="batch"))
    model, _ = build.detector(config, CLASSES)
    model.load_state_dict(rename(theirs.state_dict()))
    return theirs, model, config


def mobilenet():
    theirs = torchvisions(MOBILE_320)
    return theirs, from_state(MOBILE_320, theirs.state_dict())[0], CONFIGS[MOBILE_320]


@pytest.mark.parametrize("make", [mobilenet, resnet18])
def test_the_same_mini_batch_costs_what_torchvision_says_and_gives_its_gradients(make):
    theirs, model, config = make()
    samples = list(truths())
    preprocess = Preprocess(theirs.transform.min_size[0], theirs.transform.max_size, "exact32")
    item = next(Batches(samples, NAMES, preprocess, batch=2, shuffle=False).epoch(1))
    objective = build.stages(model.eval(), config)[0].objective
    with torch.no_grad():
        found = model.rpn(model.backbone(item.batch.images), item.batch, objective.limits)
    truth = [{"boxes": torch.from_numpy(one.boxes), "labels": labels_of(one)} for one in samples]
    theirs = learning_alike(theirs, item.targets, found)
    expected = theirs([tensor(one.picture) for one in samples], truth)
    losses = objective(item.batch, item.targets)
    for name, theirs_name in LOSSES.items():
        torch.testing.assert_close(losses[name], expected[theirs_name], rtol=1e-4, atol=0)
        assert losses[name] > 1e-4
    for total in (losses, expected):
        torch.stack(list(total.values())).sum().backward()
    their_gradients = {name: p.grad for name, p in theirs.named_parameters()}
    for ours_name in ("rpn.head.bbox_pred.weight", "backbone.fpn.layer_blocks.0.0.weight", "head.cls_score.weight"):
        gradient = model.get_parameter(ours_name).grad
        theirs_gradient = their_gradients[ours_name.replace("head.cls", "roi_heads.box_predictor.cls")]
        torch.testing.assert_close(gradient, theirs_gradient, rtol=0, atol=1e-3 * float(theirs_gradient.abs().max()))
