"""Settings of the network. Units are pixels of the resized picture."""

from typing import Annotated, Literal

from pydantic import Field

from rcnn.config.backbones import Backbone
from rcnn.config.section import Fraction, Positive, Section


class ProposalSettings(Section):
    """Regions from outside the network, for the methods that make none themselves."""

    mode: Literal["fast", "quality"] = "fast"
    """of selective search, where no file of proposals is given"""
    train: Positive = 2000
    """at most so many a picture in training"""
    test: Positive = 2000
    """and at test"""


class RPNSettings(Section):
    """The Region Proposal Network."""

    depth: Positive = 1
    """3x3 convolutions before the scores"""
    width: Annotated[int, Field(ge=0)] = 0
    """their channels; 0: as many as the features have"""
    anchor_sizes: tuple[tuple[float, ...], ...] = ((32,), (64,), (128,), (256,), (512,))
    """for each level, finest first, the sides of its square anchors"""
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """heights over widths"""
    anchor_grid: Literal["torchvision", "detectron2"] = "torchvision"
    """torchvision: corners and steps of whole pixels; detectron2: corners as they come, steps of the exact stride"""
    before: Positive = 1000
    """proposals of each level that enter suppression at test"""
    after: Positive = 1000
    """proposals of a picture that leave it at test"""
    train_before: Positive = 2000
    """the same in training"""
    train_after: Positive = 2000
    """the same in training"""
    score: Fraction = 0.0
    """least objectness of a proposal"""
    nms: Fraction = 0.7
    """IoU above which the lesser of two proposals is dropped"""
    side: Annotated[float, Field(ge=0)] = 0.0
    """shortest side of a proposal, in pixels of the picture before it was resized"""
    border: bool = True
    """whether anchors that cross the picture's border teach"""
    samples: Positive = 256
    """anchors a picture that the loss looks at"""
    positive_fraction: Fraction = 0.5
    """at most so many of them positive"""
    positive_iou: Fraction = 0.7
    """IoU from which an anchor is positive"""
    negative_iou: Fraction = 0.3
    """IoU under which it is negative"""
    beta: Annotated[float, Field(gt=0)] = 1 / 9
    """where the box loss turns from square to straight (1 / sigma squared)"""
    balance: Annotated[float, Field(ge=0)] = 1.0
    """weight of the box loss (lambda)"""
    per_position: bool = False
    """divide the box loss by the number of cells, not of sampled anchors"""


class HeadSettings(Section):
    """From regions to classes and boxes."""

    pooling: Literal["align", "max"] = "align"
    """of Fast and Faster R-CNN: RoIAlign, or RoI pooling as in the papers"""
    pool: Positive = 7
    """regions are read on a grid of pool x pool"""
    bins: tuple[Positive, ...] = (1, 2, 3, 6)
    """SPPnet's pyramid: grids of so many bins a side"""
    sampling: Annotated[int, Field(ge=0)] = 2
    """RoIAlign takes sampling x sampling points a bin; 0: as many as the bin has cells, as detectron2 does, slowly"""
    aligned: bool = False
    """shift by half a pixel, as detectron2 does"""
    crop: Positive = 224
    """R-CNN warps regions to crop x crop pixels"""
    context: Annotated[int, Field(ge=0)] = 16
    """of which so many on each side lie around the region"""
    chunk: Positive = 64
    """R-CNN's regions that are in memory at once; few stay in the processor's cache"""
    convs: Annotated[int, Field(ge=0)] = 0
    """3x3 convolutions before the fully connected layers"""
    average: bool = False
    """fully connected layers see the mean over the grid"""
    widths: tuple[Positive, ...] = (1024, 1024)
    """units of the fully connected layers fc6, fc7, ..."""
    ranks: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """of fc6, fc7, ... after truncated SVD; 0: full"""
    pretrained: bool = False
    """fc6 and fc7 begin as those of the backbone's classifier"""
    small_start: bool = False
    """the new classification and box layers begin at N(0, 0.01) and N(0, 0.001), as in the papers"""
    dropout: Fraction = 0.0
    """after each fully connected layer, in training"""
    classifier: Literal["softmax", "svm"] = "softmax"
    """svm: a linear support vector machine a class, trained afterwards"""
    ridge: bool = False
    """with svm: boxes from linear regressors on pooled features, trained afterwards"""
    samples: Positive = 512
    """regions a picture that the loss looks at"""
    positive_fraction: Fraction = 0.25
    """at most so many of them positive"""
    positive_iou: Fraction = 0.5
    """IoU from which a region is positive"""
    negative_iou: Fraction = 0.5
    """IoU under which it is background"""
    negative_low: Fraction = 0.0
    """and from which it is looked at (Fast R-CNN: 0.1)"""
    box_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    """the box targets tx ty tw th are multiplied with these"""
    measured_boxes: bool = False
    """normalise them by mean and deviation of each class instead"""
    beta: Annotated[float, Field(gt=0)] = 1 / 9
    """where the box loss turns from square to straight (1 / sigma squared)"""
    box_loss: Annotated[float, Field(ge=0)] = 1.0
    """weight of the box loss (lambda)"""


class DetectionSettings(Section):
    """From scores to detections."""

    score: Fraction = 0.05
    """a detection must score above it"""
    nms: Fraction = 0.5
    """IoU above which the lesser of two detections of a class is dropped"""
    maximum: Positive = 100
    """detections a picture"""
    candidates: Positive = 4096
    """(region, class) pairs that enter suppression"""
    per_class: Annotated[int, Field(ge=0)] = 0
    """of each class at most so many of them; 0: no limit"""
    refine: bool = True
    """move regions by the predicted deltas"""


class ModelSettings(Section):
    """The network."""

    method: Literal["rcnn", "sppnet", "fast-rcnn", "faster-rcnn"] = "faster-rcnn"
    """the detector's kind"""
    backbone: Backbone = "mobilenet-v2"
    """the convolutional network: a name that 'rcnn presets --backbones' lists, or timm:NAME"""
    neck: Literal["fpn", "none", "c4"] = "fpn"
    """fpn: a feature pyramid over its stages; none: its last map alone; c4: that at stride 16, the rest in the head"""
    image_scales: tuple[Positive, ...] = ()
    """short sides at which the convolutions see a picture, each region where it is nearest 224 x 224"""
    norm: Literal["auto", "frozen", "group", "batch"] = "auto"
    """auto: frozen batch norm on pretrained weights, group norm on random ones"""
    frozen_stages: Annotated[int, Field(ge=0, le=5)] = 0
    """stages of the backbone, from the first, that do not train"""
    channels: Positive = 256
    """of the feature pyramid, if there is one"""
    neck_norm: Literal["none", "frozen", "batch"] = "none"
    """batch norm in the pyramid and in the head's convolutions"""
    proposals: ProposalSettings = ProposalSettings()
    rpn: RPNSettings = RPNSettings()
    head: HeadSettings = HeadSettings()
    detections: DetectionSettings = DetectionSettings()
