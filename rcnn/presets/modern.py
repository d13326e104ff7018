"""Configurations for one's own pictures: MobileNet and ResNet backbones, and the demo's small one."""

from rcnn.config import (
    Config,
    DetectionSettings,
    HeadSettings,
    InputSettings,
    ModelSettings,
    ProposalSettings,
    RidgeSettings,
    RPNSettings,
    SVMSettings,
    TrainingSettings,
)


def faster_rcnn_mobilenet_fpn() -> Config:
    """MobileNetV2 with FPN: the one to begin with; trains on a laptop."""
    return Config(
        input=InputSettings(short=480, long=800),
        model=ModelSettings(backbone="mobilenet-v2"),
        training=TrainingSettings(lr=0.04),
    )


def faster_rcnn_r18_fpn() -> Config:
    """ResNet-18 with FPN: more accurate, still light."""
    return Config(
        input=InputSettings(short=600, long=1000),
        model=ModelSettings(backbone="resnet18", frozen_stages=1),
    )


def faster_rcnn_r50_fpn() -> Config:
    """ResNet-50 with FPN at 800 x 1333: the field's yardstick; wants a GPU to train."""
    return Config(model=ModelSettings(backbone="resnet50", frozen_stages=1))


def faster_rcnn_r50_c4() -> Config:
    """ResNet-50 cut after its fourth stage, the fifth as head (C4): the form of the paper on residual networks."""
    return Config(
        model=ModelSettings(
            backbone="resnet50",
            neck="c4",
            frozen_stages=1,
            rpn=RPNSettings(
                anchor_sizes=((32, 64, 128, 256, 512),), before=6000, train_before=12000, after=1000, train_after=2000
            ),
            head=HeadSettings(pool=14, aligned=True, average=True, widths=()),
        ),
    )


def fast_rcnn_mobilenet_fpn() -> Config:
    """Fast R-CNN on MobileNetV2 with FPN and selective search: the default without its RPN."""
    return Config(
        input=InputSettings(short=480, long=800),
        model=ModelSettings(method="fast-rcnn", backbone="mobilenet-v2", head=HeadSettings(samples=128)),
        training=TrainingSettings(lr=0.04),
    )


def rcnn_mobilenet() -> Config:
    """R-CNN on MobileNetV2: every region through the whole network, then SVMs and ridge."""
    head = HeadSettings(
        pool=7,
        crop=224,
        chunk=16,
        average=True,
        widths=(),
        small_start=True,
        samples=16,
        classifier="svm",
        ridge=True,
        box_loss=0.0,
    )
    return Config(
        input=InputSettings(short=500, long=500),
        model=ModelSettings(
            method="rcnn",
            backbone="mobilenet-v2",
            neck="none",
            proposals=ProposalSettings(train=500, test=1000),
            head=head,
            detections=DetectionSettings(nms=0.3, per_class=100),
        ),
        training=TrainingSettings(
            lr=0.005,
            lr_pictures=4,
            epochs=4,
            new_lr=10.0,
            bias_decay=False,
            weight_decay=5e-4,
            svm=SVMSettings(cost=0.1),  # the paper's 0.001 leaves a few hundred positives without a say
        ),
    )


def sppnet_mobilenet() -> Config:
    """SPPnet on MobileNetV2: convolutions that are never trained, a pyramid of bins, SVMs and ridge."""
    head = HeadSettings(
        widths=(512, 512),
        small_start=True,
        dropout=0.5,
        samples=64,
        negative_low=0.1,
        classifier="svm",
        ridge=True,
        box_loss=0.0,
    )
    return Config(
        input=InputSettings(short=688, long=1146),
        model=ModelSettings(
            method="sppnet",
            backbone="mobilenet-v2",
            neck="none",
            head=head,
            detections=DetectionSettings(nms=0.3, per_class=100),
        ),
        training=TrainingSettings(
            lr=0.01,
            lr_pictures=4,
            bias_decay=False,
            weight_decay=5e-4,
            svm=SVMSettings(negative_nms=0.7),
            ridge=RidgeSettings(penalty=4000.0, iou=0.5, inclusive=True),
        ),
    )


def demo() -> Config:
    """A small network for small pictures, from random weights: what `rcnn demo` trains."""
    return Config(
        input=InputSettings(short=160, long=208),
        model=ModelSettings(
            backbone="small",
            channels=64,
            rpn=RPNSettings(
                anchor_sizes=((16,), (32,), (48,), (96,), (160,)),
                anchor_ratios=(1.0, 1.6),
                before=300,
                after=150,
                train_before=500,
                train_after=300,
                samples=128,
            ),
            head=HeadSettings(widths=(256, 256), samples=64),
        ),
        training=TrainingSettings(
            epochs=10,
            batch=8,
            optimizer="adamw",
            lr=1e-3,
            weight_decay=0.02,
            schedule="cosine",
            flip=0.0,
            precision="fp32",
        ),
    )
