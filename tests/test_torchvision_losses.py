"""What this library and torchvision say of the same mini-batch of the same network: losses and gradients."""

import copy
import math

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
from rcnn.compat.torchvision import CONFIGS, from_state, rename
from rcnn.config import Config, ModelSettings
from rcnn.data.loader import Batches
from rcnn.data.preprocess import Preprocess
from rcnn.matching import draws, sample
from rcnn.sample import Sample


class SameSample:
    """In place of torchvision's sampler: chooses what this library chooses.

    Torchvision's regions are the proposals without padding and then the true boxes; here each part is padded.
    """

    def __init__(self, keys, stream, sampler, real=None, proposals=0, places=0):
        self.keys, self.stream = keys, stream
        self.count, self.fraction = sampler.batch_size_per_image, sampler.positive_fraction
        self.real, self.proposals, self.places = real, proposals, places

    def __call__(self, labels):
        masks = [self.choose(number, row) for number, row in enumerate(labels)]
        return [positive for positive, _ in masks], [negative for _, negative in masks]

    def choose(self, number, labels):
        place = torch.arange(len(labels))
        if self.real is not None:
            found = len(labels) - self.real[number]
            place = torch.where(place < found, place, place - found + self.proposals)
        random = draws(self.keys[number : number + 1], self.places or len(labels), self.stream)[:, place]
        chosen = sample((labels >= 1)[None], (labels == 0)[None], random, self.count, self.fraction)
        positive, negative = (torch.zeros(len(labels), dtype=torch.uint8) for _ in range(2))
        positive[chosen.index[chosen.positive]] = 1
        negative[chosen.index[chosen.valid & ~chosen.positive]] = 1
        return positive, negative


LOSSES = {
    "rpn_score": "loss_objectness", "rpn_box": "loss_rpn_box_reg", "score": "loss_classifier", "box": "loss_box_reg",
}  # fmt: skip


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
    theirs = copy.deepcopy(torchvisions(MOBILE_320))
    return theirs, from_state(MOBILE_320, theirs.state_dict())[0], CONFIGS[MOBILE_320]


def in_training(theirs, item, regions, places):
    """Torchvision's model as it trains, but with frozen norms, and with this library's `regions` and mini-batches.

    Rounding reorders regions of almost equal scores, so that those of the two libraries are compared as sets.
    """
    theirs.train()
    for norm in (m for m in theirs.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eval()
    keys, rpn, heads = item.targets.keys, theirs.rpn, theirs.roi_heads
    real = item.targets.valid.sum(dim=1).tolist()
    rpn.fg_bg_sampler = SameSample(keys, 1, rpn.fg_bg_sampler)
    heads.fg_bg_sampler = SameSample(keys, 2, heads.fg_bg_sampler, real, places, places + item.targets.boxes.shape[1])
    own_filter = rpn.filter_proposals

    def filter_proposals(*arguments):
        for own, other in zip(own_filter(*arguments)[0], regions, strict=True):
            near = torch.cdist(own, other, p=math.inf) < 0.01
            assert min(near.any(dim=0).float().mean(), near.any(dim=1).float().mean()) > 0.98
        return regions, None

    rpn.filter_proposals = filter_proposals
    return theirs


@pytest.mark.parametrize("make", [mobilenet, resnet18])
def test_the_same_mini_batch_costs_what_torchvision_says_and_gives_its_gradients(make):
    theirs, model, config = make()
    samples = list(truths())
    preprocess = Preprocess(theirs.transform.min_size[0], theirs.transform.max_size, "exact32")
    item = next(Batches(samples, NAMES, preprocess, batch=2, shuffle=False).epoch(1))
    objective = build.stages(model.eval(), config)[0].objective
    with torch.no_grad():
        found = model.rpn(model.backbone(item.batch.images), item.batch, objective.limits)
    regions = [boxes[valid] for boxes, valid in zip(found.boxes, found.valid, strict=True)]
    truth = [{"boxes": torch.from_numpy(one.boxes), "labels": labels_of(one)} for one in samples]
    theirs = in_training(theirs, item, regions, found.boxes.shape[1])
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
