"""Torchvision's own models beside this library's network with their weights: detections and training losses."""

import math
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import detection as tv
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
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


def torchvisions(name, short, long, pictures, classes=CLASSES):
    """Torchvision's model with random weights that finds things: its norms and scales set on some pictures."""
    torch.manual_seed(0)
    size = {"min_size": short, "max_size": long}
    model = getattr(tv, name)(weights=None, weights_backbone=None, num_classes=classes + 1, **size)
    return calibrated(model, pictures)


@torch.no_grad()
def calibrated(model, pictures):
    """Features of spread 1 and moderate scores: so that rounding stays rounding and many classes are found."""
    model.eval()
    images = [tensor(picture) for picture in pictures]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.train()
    model(images)
    model.eval()
    scale_output(model, images, list(model.backbone.fpn.layer_blocks), 0.7)
    scale_output(model, images, [model.rpn.head.cls_logits], 1.5)
    scale_output(model, images, [model.rpn.head.bbox_pred], 0.2)
    scale_output(model, images, [model.roi_heads.box_predictor.bbox_pred], 0.3)
    scale_output(model, images, [model.roi_heads.box_predictor.cls_score], 1.5)
    return model


def scale_output(model, images, layers, spread):
    """Multiply the weights of each layer so that its output has the given standard deviation, and mean 0."""
    outputs = {}
    hooks = [layer.register_forward_hook(lambda layer, _, out: outputs.update({layer: out})) for layer in layers]
    model(images)
    for hook in hooks:
        hook.remove()
    for layer in layers:
        last = [m for m in layer.modules() if getattr(m, "bias", None) is not None][-1]
        axes = (0, 2, 3) if outputs[layer].ndim == 4 else (0,)
        mean = outputs[layer].mean(axes)
        factor = spread / (outputs[layer] - outputs[layer].mean(axes, keepdim=True)).std()
        last.bias.copy_((last.bias - mean) * factor)
        last.weight.mul_(factor)
