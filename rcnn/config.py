"""All settings of a detector and its training: typed, frozen, checked. Units are pixels of the resized picture."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Backbone = Literal[
    "mobilenet-v2",
    "mobilenet-v3-large",
    "mobilenet-v3-large-top",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "small",
]


class Section(BaseModel):
    """A group of settings; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class InputSettings(Section):
    """From a picture to the network's input."""

    short: Annotated[int, Field(ge=32)] = 800
    """the short side after resizing"""
    long: Positive = 1333
    """at most so long a long side; the short side gives way"""
    bucket: Literal["coarse", "exact32"] = "coarse"
    """canvas sizes: coarse (five, so that pictures share them) or exact32 (each picture's own, rounded up to 32)"""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """subtracted from red, green, blue in 0..1"""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """what is left is divided by it"""
    max_pixels: Positive = 100_000_000
    """larger pictures are refused before they are decoded"""

    @model_validator(mode="after")
    def _ordered(self) -> "InputSettings":
        if self.long < self.short:
            raise ValueError(f"long ({self.long}) is below short ({self.short})")
        return self


class RPNSettings(Section):
    """The Region Proposal Network."""

    depth: Positive = 1
    """3x3 convolutions before the scores"""
    anchor_sizes: tuple[tuple[float, ...], ...] = ((32,), (64,), (128,), (256,), (512,))
    """for each level, finest first, the sides of its square anchors"""
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """heights over widths"""
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
    samples: Positive = 256
    """anchors a picture that the loss looks at"""
    positive_fraction: Fraction = 0.5
    """at most so many of them positive"""
    positive_iou: Fraction = 0.7
    """IoU from which an anchor is positive"""
    negative_iou: Fraction = 0.3
    """IoU under which it is negative"""


class HeadSettings(Section):
    """From regions to classes and boxes."""

    pool: Positive = 7
    """regions are read on a grid of pool x pool"""
    sampling: Positive = 2
    """RoIAlign takes sampling x sampling points a bin"""
    aligned: bool = False
    """shift by half a pixel, as detectron2 does"""
    width: Positive = 1024
    """units of each fully connected layer"""
    convs: Annotated[int, Field(ge=0)] = 0
    """3x3 convolutions before them"""
    layers: Positive = 2
    """fully connected layers"""
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


class ModelSettings(Section):
    """The network."""

    method: Literal["faster-rcnn"] = "faster-rcnn"
    """the detector's kind"""
    backbone: Backbone = "mobilenet-v2"
    """the network under the pyramid"""
    norm: Literal["auto", "frozen", "group", "batch"] = "auto"
    """auto: frozen batch norm on pretrained weights, group norm on random ones"""
    frozen_stages: Annotated[int, Field(ge=0, le=4)] = 0
    """stages of the backbone, from the first, that do not train"""
    channels: Positive = 256
    """of the feature pyramid"""
    neck_norm: Literal["none", "frozen", "batch"] = "none"
    """batch norm in the pyramid and in the head's convolutions"""
    rpn: RPNSettings = RPNSettings()
    head: HeadSettings = HeadSettings()
    detections: DetectionSettings = DetectionSettings()


class TrainingSettings(Section):
    """How the network is trained."""

    epochs: Positive = 12
    """passes over the training pictures"""
    batch: Positive = 4
    """pictures a step on this machine"""
    accumulate: Positive = 1
    """steps whose gradients are added up before the weights move"""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.02
    """for sgd: the rate for 16 pictures a step, scaled to the real number; for adamw: as it is"""
    momentum: Fraction = 0.9
    """of sgd"""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    warmup: Annotated[int, Field(ge=0)] = 50
    """steps over which the rate rises to its full value"""
    schedule: Literal["step", "cosine"] = "step"
    drops: tuple[Fraction, ...] = (0.75,)
    """with step: after these parts of all steps the rate is multiplied with 0.1"""
    clip: Annotated[float, Field(ge=0)] = 10.0
    """largest norm of the gradient; 0 for no limit"""
    flip: Fraction = 0.5
    """chance of a mirror image"""
    scales: tuple[Positive, ...] = ()
    """short sides to choose from in training; none: that of the input"""
    train_difficult: bool = True
    """whether objects marked difficult teach"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the device computes in it"""
    workers: Annotated[int, Field(ge=0)] = 0
    """processes that prepare pictures"""
    save_minutes: Annotated[float, Field(gt=0)] = 10.0
    """between saves of the newest state within an epoch"""
    seed: Annotated[int, Field(ge=0)] = 0
    """all chance follows from it"""


class Config(Section):
    """Everything that a run depends on beside its data."""

    input: InputSettings = InputSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
