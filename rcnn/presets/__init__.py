"""Whole configurations by name. A preset is a function, so that reading it says what it is."""

from collections.abc import Callable

from rcnn.config import (
    Config,
    HeadSettings,
    InputSettings,
    ModelSettings,
    RPNSettings,
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
            head=HeadSettings(width=256, samples=64),
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


PRESETS: dict[str, Callable[[], Config]] = {
    "faster-rcnn-mobilenet-fpn": faster_rcnn_mobilenet_fpn,
    "faster-rcnn-r18-fpn": faster_rcnn_r18_fpn,
    "faster-rcnn-r50-fpn": faster_rcnn_r50_fpn,
    "demo": demo,
}
