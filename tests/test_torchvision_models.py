"""Torchvision's own models beside this library's network with their weights: detections and training losses."""

import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import detection as tv
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.mobilenetv3 import InvertedResidual
from torchvision.models.resnet import Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from rcnn import build
from rcnn.api import load
from rcnn.backbones.norm import FoldedConv2d
from rcnn.compat.torchvision import CONFIGS, WEIGHTS, from_state, rename
from rcnn.config import Config, InputSettings, ModelSettings
from rcnn.data.loader import Batches
from rcnn.data.preprocess import Preprocess
from rcnn.errors import WeightsError
from rcnn.inference.predictor import Detector
from rcnn.matching import draws, sample
from rcnn.sample import Sample

CLASSES = 8
MOBILE, MOBILE_320 = "fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"
REAL = Path(__file__).parents[2] / "shared" / "data" / "coco_tiny" / "val2017"


def photo(height, width, seed):
    """Clouds of colour of all sizes, which is what a photograph looks like to a random network."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells in (2, 5, 12, 30, 80):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC)) / math.sqrt(cells)
    low, high = total.min(), total.max()
    return ((total - low) / (high - low) * 255).astype(np.uint8)


def tensor(picture):
    return torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255


@cache
def torchvisions(name):
    """Torchvision's model with random weights that finds things."""
    torch.manual_seed(0)
    fewer = {} if name.startswith("fasterrcnn_mobile") else {"rpn_post_nms_top_n_test": 200}
    model = getattr(tv, name)(weights=None, weights_backbone=None, num_classes=CLASSES + 1, **fewer)
    return calibrated(model, [photo(256, 320, seed=seed) for seed in (7, 8, 9)])


@torch.no_grad()
def calibrated(model, pictures):
    """Norms and scales set on some pictures, so that rounding stays rounding and many classes are found."""
    model.eval()
    resize(model, 256, 320)
    images, _ = model.transform([tensor(picture) for picture in pictures])
    for block in model.modules():  # small residuals, as trained networks have: others amplify rounding
        if isinstance(block, Bottleneck | InvertedResidual):
            [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)][-1].weight.fill_(0.2)
    learn_norms(model.backbone, images.tensors)
    scale_outputs(model.backbone, (images.tensors,), {block: 0.7 for block in model.backbone.fpn.layer_blocks})
    features = model.backbone(images.tensors)
    head, predictor = model.rpn.head, model.roi_heads.box_predictor
    scale_outputs(head, (list(features.values()),), {head.cls_logits: 1.5, head.bbox_pred: 0.2})
    proposals, _ = model.rpn(images, features)
    regions = model.roi_heads.box_roi_pool(features, proposals, images.image_sizes)
    learn_norms(model.roi_heads.box_head, regions)
    rows = model.roi_heads.box_head(regions)
    scale_outputs(predictor, (rows,), {predictor.cls_score: 0.8, predictor.bbox_pred: 0.1})
    return model


def resize(model, short, long):
    model.transform.min_size, model.transform.max_size = (short,), long


def learn_norms(module, inputs):
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the plain mean over the one batch
        norm.train()
    if norms:
        module(inputs)
    module.eval()


def scale_outputs(module, inputs, spreads):
    """Give the outputs of some layers mean 0 and the given standard deviation."""
    outputs = {layer: [] for layer in spreads}
    hooks = [layer.register_forward_hook(lambda layer, _, out: outputs[layer].append(out)) for layer in spreads]
    module(*inputs)
    for hook in hooks:
        hook.remove()
    for layer, spread in spreads.items():
        rows = torch.cat([out.transpose(0, 1).flatten(1) for out in outputs[layer]], dim=1)  # [channels, places]
        factor = spread / rows.std(dim=1).mean()
        last = [m for m in layer.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.BatchNorm2d)][-1]
        bias = 0 if last.bias is None else last.bias
        last.bias = nn.Parameter((bias - rows.mean(dim=1)) * factor)
        last.weight.mul_(factor)


def detector(name, short, long):
    """This library's detector with the weights of `torchvisions(name)`."""
    theirs = torchvisions(name)
    resize(theirs, short, long)
    model, class_names = from_state(name, theirs.state_dict())
    model.limits = replace(model.limits, after=theirs.rpn._post_nms_top_n["testing"])
    return theirs, Detector(model, Preprocess(short, long, "exact32"), class_names)
