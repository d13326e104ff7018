"""Settings of training."""

from typing import Annotated, Literal

from pydantic import Field

from rcnn.config.augment import AugmentSettings
from rcnn.config.losses import LossSettings
from rcnn.config.section import Fraction, Positive, Section


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
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """decay of the running mean of the weights, which is what is judged and kept; 0: the weights themselves"""
    patience: Annotated[int, Field(ge=0)] = 0
    """epochs without a better AP after which training stops; 0: never"""
    repeat: Fraction = 0.0
    """pictures with a class that fewer than this part of them show are repeated within an epoch; 0: none is"""
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
    augment: AugmentSettings = AugmentSettings()
    loss: LossSettings = LossSettings()
    svm: SVMSettings = SVMSettings()
    ridge: RidgeSettings = RidgeSettings()
