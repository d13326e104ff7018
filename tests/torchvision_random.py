"""Torchvision's models with random weights that find things: what this library's network is held against."""

import math
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.models import detection as tv
from torchvision.models.mobilenetv3 import InvertedResidual
from torchvision.models.resnet import Bottleneck

CLASSES = 8
NAMES = tuple(f"class {n}" for n in range(1, CLASSES + 1))
MOBILE, MOBILE_320 = "fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"


def photo(height, width, seed):
    """Clouds of colour of all sizes, which is what a photograph looks like to a random network."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells in (6, 15, 40, 100):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC)) / math.sqrt(cells)
    low, high = total.min(), total.max()
    return ((total - low) / (high - low) * 255).astype(np.uint8)


def tensor(picture):
    return torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255


GENERATED = (photo(300, 400, seed=1), photo(320, 256, seed=2))


@cache
def torchvisions(name):
    """Torchvision's model with random weights that finds things in the generated pictures."""
    torch.manual_seed(0)
    regions = 300 if name == MOBILE else 150  # fewer than usual: each costs a pass through the head
    options = {"weights": None, "weights_backbone": None, "rpn_post_nms_top_n_test": regions}
    model = getattr(tv, name)(num_classes=CLASSES + 1, **options)
    return calibrated(resized(model, 224, 320), GENERATED)


@torch.no_grad()
def calibrated(model, pictures):
    """Norms and scales set on some pictures, so that rounding stays rounding and many classes are found."""
    model.eval()
    images, _ = model.transform([tensor(picture) for picture in pictures])
    for block in model.modules():  # small residuals, as trained networks have: others amplify rounding
        if isinstance(block, Bottleneck | InvertedResidual):
            [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)][-1].weight.fill_(0.2)
    learn_norms(model.backbone, images.tensors)
    scale_outputs(model.backbone, (images.tensors,), dict.fromkeys(model.backbone.fpn.layer_blocks, 0.7))
    features = model.backbone(images.tensors)
    head, predictor = model.rpn.head, model.roi_heads.box_predictor
    scale_outputs(head, (list(features.values()),), {head.cls_logits: 1.5, head.bbox_pred: 0.03})
    proposals, _ = model.rpn(images, features)
    regions = model.roi_heads.box_roi_pool(features, proposals, images.image_sizes)
    learn_norms(model.roi_heads.box_head, regions)
    rows = model.roi_heads.box_head(regions)
    means = torch.stack([part.mean(dim=0) for part in rows.split([len(boxes) for boxes in proposals])])
    basis = torch.linalg.qr(means.T).Q  # what sets one whole picture apart from another shall not decide its classes
    predictor.cls_score.weight -= (predictor.cls_score.weight @ basis) @ basis.T
    scale_outputs(predictor, (rows,), {predictor.cls_score: 0.2, predictor.bbox_pred: 0.03})
    return model


def resized(model, short, long):
    """The model, for pictures of that short and long side."""
    model.transform.min_size, model.transform.max_size = (short,), long
    return model


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
