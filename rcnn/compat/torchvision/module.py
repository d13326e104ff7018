"""A detector that is called as torchvision's are: lists of tensors in, lists of dictionaries or losses out."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rcnn import build
from rcnn.config import Config
from rcnn.data.preprocess import Preprocess
from rcnn.heads.box_head import BoxHead
from rcnn.methods import FasterRCNN, Method
from rcnn.structures import Batch, Targets, unpad
from rcnn.training.schemes import Learn

LOSSES = {
    "score": "loss_classifier",
    "box": "loss_box_reg",
    "rpn_score": "loss_objectness",
    "rpn_box": "loss_rpn_box_reg",
}
"""This library's names, and torchvision's."""
Target = Mapping[str, Tensor]


class TorchvisionDetector(nn.Module):
    """Faster R-CNN behind torchvision's call convention.

    In evaluation, pictures [3, H, W] of values from 0 to 1 give one dictionary each: `boxes` [D, 4] in their pixels,
    `labels` [D] and `scores` [D]. In training, pictures and targets (`boxes` [G, 4], `labels` [G] from 1 on) give the
    four losses by torchvision's names. `min_size`: short sides, of which training draws one a picture and evaluation
    takes the last.
    """

    def __init__(self, model: Method, config: Config, min_size: Sequence[int]) -> None:
        super().__init__()
        assert isinstance(model, FasterRCNN)
        self.model = model
        self.min_size = tuple(min_size)
        self.preprocess = build.preprocess(config.input)
        (stage,) = build.stages(model, config)
        assert isinstance(stage, Learn)
        self.__dict__["objective"] = stage.objective  # holds the model too: not a part of the state twice
        self.__dict__["roi_heads"] = RoIHeads(model)

    def forward(
        self, images: Sequence[Float[Tensor, "3 _ _"]], targets: Sequence[Target] | None = None
    ) -> list[dict[str, Tensor]] | dict[str, Tensor]:
        """Detections in evaluation, losses in training; raises ValueError for targets that cannot be learned from."""
        if not self.training:
            return self._detect(images)
        if targets is None:
            raise ValueError("targets should not be None in training mode; pass one dictionary a picture")
        shorts = [random.choice(self.min_size) for _ in images]
        batch = lay_out(images, self.preprocess, shorts)
        truth = truth_of(targets, batch, len(self.model.head.cls_score.bias) - 1)
        losses = self.__dict__["objective"](batch, truth)
        return {LOSSES[name]: loss for name, loss in losses.items()}

    def _detect(self, images: Sequence[Float[Tensor, "3 _ _"]]) -> list[dict[str, Tensor]]:
        batch = lay_out(images, self.preprocess, [self.min_size[-1]] * len(images))
        found = unpad(self.model(batch), ())
        device = batch.images.device
        return [
            {"boxes": f.boxes.to(device), "labels": f.labels.to(device), "scores": f.scores.to(device)} for f in found
        ]


class RoIHeads:
    """What scripts reach into: `model.roi_heads.box_predictor`, to read its width and to put another in its place."""

    def __init__(self, model: FasterRCNN) -> None:
        self._head: BoxHead = model.head

    @property
    def box_predictor(self) -> BoxHead:
        """Has `cls_score` and `bbox_pred`, as torchvision's `FastRCNNPredictor`."""
        return self._head

    @box_predictor.setter
    def box_predictor(self, predictor: nn.Module) -> None:
        head = self._head
        parts = predictor.get_submodule("cls_score"), predictor.get_submodule("bbox_pred")
        rows = head.box_std[:1], head.box_mean[:1]
        head.cls_score, head.bbox_pred = (part.to(head.cls_score.weight.device) for part in parts)  # type: ignore[assignment]
        head.box_std, head.box_mean = (row.repeat(len(head.cls_score.bias), 1) for row in rows)


def lay_out(images: Sequence[Float[Tensor, "3 _ _"]], preprocess: Preprocess, shorts: Sequence[int]) -> Batch:
    """Pictures, each resized to its short side, on the least canvas of multiples of 32 that holds them all."""
    originals = [(image.shape[1], image.shape[2]) for image in images]
    sizes = [preprocess.resized(size, short) for size, short in zip(originals, shorts, strict=True)]
    canvas = [-(-max(sides) // 32) * 32 for sides in zip(*sizes, strict=True)]
    first = images[0]
    mean, std = (first.new_tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
    laid = first.new_zeros(len(images), *canvas, 3).permute(0, 3, 1, 2)  # channels last
    for place, (image, size) in enumerate(zip(images, sizes, strict=True)):
        shown = F.interpolate(((image - mean) / std)[None], size, mode="bilinear", align_corners=False)[0]
        laid[place, :, : size[0], : size[1]] = shown
    shown_sizes, original_sizes = (torch.tensor(pairs, device=first.device) for pairs in (sizes, originals))
    return Batch(laid, shown_sizes, original_sizes, first.new_ones(len(images)))


def truth_of(targets: Sequence[Target], batch: Batch, classes: int) -> Targets:
    """Torchvision's targets as this library's, padded; their mini-batches are drawn by torch's own generator."""
    for number, target in enumerate(targets):
        _check(number, target, classes)
    device, most = batch.images.device, max((len(target["boxes"]) for target in targets), default=0)
    count, room = len(targets), max(8, 1 << max(most - 1, 0).bit_length())
    no = torch.zeros(count, room, dtype=torch.bool, device=device)
    unit = torch.tensor([0.0, 0.0, 1.0, 1.0], device=device).repeat(count, room, 1)
    keys = torch.randint(2**62, (count,), device=device)
    truth = Targets(unit, no.long(), no.clone(), no.clone(), no.clone(), no.float(), keys)
    scales = (batch.sizes / batch.original_sizes).flip(-1).repeat(1, 2)  # [B, 4] as x y x y
    for place, target in enumerate(targets):
        here = (place, slice(0, len(target["boxes"])))
        truth.boxes[here] = target["boxes"].to(truth.boxes) * scales[place]
        truth.labels[here], truth.valid[here] = target["labels"].to(device), True
    return replace(truth, weight=truth.valid.float())


def _check(number: int, target: Target, classes: int) -> None:
    """Raise ValueError for boxes without area, and for labels that are no class."""
    boxes, labels = target["boxes"].reshape(-1, 4), target["labels"]
    if len(boxes) != len(labels):
        raise ValueError(f"target {number}: {len(boxes)} boxes but {len(labels)} labels; give one of each per object")
    if not bool((boxes[:, 2:] > boxes[:, :2]).all()):
        raise ValueError(f"target {number}: has a box without area; leave it out")
    if len(labels) and not 1 <= int(labels.min()) <= int(labels.max()) <= classes:
        raise ValueError(f"target {number}: labels are not all in 1..{classes}; 0 is the background")
