"""Torchvision's models with random weights that find things: what this library's network is held against."""

from functools import cache

import torch
from torchvision.models import detection as tv

from rcnn.bench.calibrated import calibrated, resized
from rcnn.bench.pictures import photo

CLASSES = 8
NAMES = tuple(f"class {n}" for n in range(1, CLASSES + 1))
MOBILE, MOBILE_320 = "fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"
GENERATED = (photo(300, 400, seed=1), photo(320, 256, seed=2))


@cache
def torchvisions(name):
    """Torchvision's model with random weights that finds things in the generated pictures."""
    torch.manual_seed(0)
    regions = 300 if name == MOBILE else 150  # fewer than usual: each costs a pass through the head
    options = {"weights": None, "weights_backbone": None, "rpn_post_nms_top_n_test": regions}
    model = getattr(tv, name)(num_classes=CLASSES + 1, **options)
    return calibrated(resized(model, 224, 320), GENERATED)
