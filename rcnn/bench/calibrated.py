"""Torchvision's detectors with random weights that find things: equal work, and detections to compare.

With plain random weights all scores are alike and rounding decides everything. Here norms and scales are set on some
pictures, so that rounding stays rounding and many classes are found.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.mobilenetv3 import InvertedResidual
from torchvision.models.resnet import Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from rcnn.bench.pictures import Picture


def tensor(picture: Picture) -> Float[Tensor, "3 H W"]:
    """A picture as torchvision's detectors take it."""
    return torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255


def resized(model: Any, short: int, long: int) -> Any:
    """Torchvision's detector, for pictures of that short and long side."""
    model.transform.min_size, model.transform.max_size = (short,), long
    return model


@torch.no_grad()
def calibrated(model: Any, pictures: Sequence[Picture], spread: float = 0.2) -> Any:
    """Torchvision's detector with norms and scales set on some pictures; `spread` is that of the classes' logits."""
    model.eval()
    images, _ = model.transform([tensor(picture) for picture in pictures])
    for block in model.modules():  # small residuals, as trained networks have: others amplify rounding
        if isinstance(block, Bottleneck | InvertedResidual):
            [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)][-1].weight.fill_(0.2)
    _learn_norms(model.backbone, images.tensors)
    _scale_outputs(model.backbone, (images.tensors,), dict.fromkeys(model.backbone.fpn.layer_blocks, 0.7))
    features = model.backbone(images.tensors)
    head, predictor = model.rpn.head, model.roi_heads.box_predictor
    _scale_outputs(head, (list(features.values()),), {head.cls_logits: 1.5, head.bbox_pred: 0.03})
    proposals, _ = model.rpn(images, features)
    regions = model.roi_heads.box_roi_pool(features, proposals, images.image_sizes)
    _learn_norms(model.roi_heads.box_head, regions)
    rows = model.roi_heads.box_head(regions)
    means = torch.stack([part.mean(dim=0) for part in rows.split([len(boxes) for boxes in proposals])])
    basis = torch.linalg.qr(means.T).Q  # what sets one whole picture apart from another shall not decide its classes
    predictor.cls_score.weight -= (predictor.cls_score.weight @ basis) @ basis.T
    _scale_outputs(predictor, (rows,), {predictor.cls_score: spread, predictor.bbox_pred: 0.03})
    return model


def _learn_norms(module: nn.Module, inputs: Tensor) -> None:
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the plain mean over the one batch
        norm.train()
    if norms:
        module(inputs)
    module.eval()


def _scale_outputs(module: nn.Module, inputs: tuple[Any, ...], spreads: Mapping[nn.Module, float]) -> None:
    """Give the outputs of some layers mean 0 and the given standard deviation."""
    outputs: dict[nn.Module, list[Tensor]] = {layer: [] for layer in spreads}
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


def frozen(module: nn.Module, epsilon: float) -> nn.Module:
    """The same numbers with frozen batch norms of that epsilon, as in torchvision's pretrained detectors."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            norm = FrozenBatchNorm2d(child.num_features, epsilon)
            norm.load_state_dict(child.state_dict())
            norm.running_var += child.eps - epsilon
            setattr(module, name, norm)
        else:
            frozen(child, epsilon)
    return module
