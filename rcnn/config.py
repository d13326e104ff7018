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
    "alexnet",
    "caffenet",
    "vgg-m",
    "vgg16",
    "zf",
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
    sampling: Positive = 2
    """RoIAlign takes sampling x sampling points a bin"""
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
    """the convolutional network"""
    neck: Literal["fpn", "none"] = "fpn"
    """fpn: a feature pyramid over its stages; none: its last map alone"""
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


class SVMSettings(Section):
    """Support vector machines, one a class."""

    cost: Annotated[float, Field(gt=0)] = 1e-3
    """C: what a violated margin costs against the length of the weights"""
    positive_weight: Annotated[float, Field(gt=0)] = 2.0
    """what a violation by a positive counts"""
    bias: Annotated[float, Field(gt=0)] = 10.0
    """the constant feature"""
    norm: Annotated[float, Field(gt=0)] = 20.0
    """features are scaled so that this is their mean length"""
    negative_iou: Fraction = 0.3
    """a proposal below it, with every object of the class, is a negative"""
    negative_nms: Fraction = 1.0
    """negatives that overlap another by more are dropped (SPPnet: 0.7)"""
    difficult: bool = False
    """whether an object marked difficult is a positive"""


class RidgeSettings(Section):
    """Box regressors on pooled features, one a class."""

    penalty: Annotated[float, Field(gt=0)] = 1000.0
    """lambda, on the squared weights"""
    iou: Fraction = 0.6
    """a proposal learns from an object that it overlaps by more"""
    inclusive: bool = False
    """or by exactly so much"""
    difficult: bool = False
    """whether an object marked difficult teaches"""
    norm: Annotated[float, Field(gt=0)] = 20.0
    """features are scaled so that this is their mean length"""


class TrainingSettings(Section):
    """How the network is trained."""

    scheme: Literal["auto", "approximate-joint", "4-step", "exact-joint", "multi-task", "stage-wise"] = "auto"
    """auto: approximate-joint for Faster R-CNN, multi-task for Fast R-CNN, the papers' stages for R-CNN and SPPnet"""
    epochs: Positive = 12
    """passes over the training pictures, in each stage"""
    iterations: Annotated[int, Field(ge=0)] = 0
    """instead of epochs: moves of the weights, in each stage"""
    rpn_epochs: Annotated[int, Field(ge=0)] = 0
    """the same in 4-step training's stages of the RPN; 0: as the others"""
    rpn_iterations: Annotated[int, Field(ge=0)] = 0
    """instead of rpn_epochs"""
    rpn_batch: Annotated[int, Field(ge=0)] = 0
    """pictures a step in them; 0: as in the others"""
    batch: Positive = 4
    """pictures a step on this machine"""
    accumulate: Positive = 1
    """steps whose gradients are added up before the weights move"""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.02
    """for sgd: the rate for lr_pictures pictures a step, scaled to the real number; for adamw: as it is"""
    lr_pictures: Annotated[int, Field(ge=0)] = 16
    """0: the rate is not scaled"""
    bias_lr: Annotated[float, Field(ge=0)] = 1.0
    """the rate of biases, times lr"""
    new_lr: Annotated[float, Field(gt=0)] = 1.0
    """the rate of the new classification layer, times lr"""
    momentum: Fraction = 0.9
    """of sgd"""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    bias_decay: bool = True
    """whether biases decay too"""
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
    compile: bool = False
    """have torch.compile make machine code of the dense layers: minutes at the beginning, then faster steps"""
    workers: Annotated[int, Field(ge=0)] = 0
    """processes that prepare pictures"""
    save_minutes: Annotated[float, Field(gt=0)] = 10.0
    """between saves of the newest state within an epoch"""
    seed: Annotated[int, Field(ge=0)] = 0
    """all chance follows from it"""
    svm: SVMSettings = SVMSettings()
    ridge: RidgeSettings = RidgeSettings()


class Config(Section):
    """Everything that a run depends on beside its data."""

    input: InputSettings = InputSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
