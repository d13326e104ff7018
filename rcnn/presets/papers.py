"""The papers' own configurations, with their constants; docs/fidelity.md goes through them one by one."""

from typing import Any

from rcnn.config import (
    Backbone,
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

_CAFFE: dict[str, Any] = {
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "bias_lr": 2.0,
    "bias_decay": False,
    "warmup": 0,
    "clip": 0.0,
    "lr_pictures": 0,
    "precision": "fp32",
}
_FC: dict[str, Any] = {"widths": (4096, 4096), "dropout": 0.5, "pretrained": True, "small_start": True, "beta": 1.0}
_FINE_TUNED: dict[str, Any] = {"classifier": "svm", "ridge": True, "box_loss": 0.0}
_SVM_DETECTIONS = DetectionSettings(score=0.0, nms=0.3, per_class=100, maximum=2000)


def rcnn_alexnet() -> Config:
    """R-CNN on AlexNet (arXiv 1311.2524)."""
    return _rcnn("alexnet", crop=227, grid=6, batch=4, samples=32)


def rcnn_vgg16() -> Config:
    """R-CNN on VGG16 (arXiv 1311.2524)."""
    return _rcnn("vgg16", crop=224, grid=7, batch=2, samples=12)


def sppnet_zf() -> Config:
    """SPPnet on ZF-5 at one scale (arXiv 1406.4729); for five, set model.image_scales and input."""
    return Config(
        input=InputSettings(short=688, long=6880, bucket="exact32"),
        model=ModelSettings(
            method="sppnet",
            backbone="zf",
            neck="none",
            head=HeadSettings(samples=64, negative_low=0.1, **(_FC | _FINE_TUNED | {"pretrained": False})),
            detections=_SVM_DETECTIONS,
        ),
        training=TrainingSettings(
            batch=2,
            lr=1e-4,
            iterations=300_000,
            drops=(250_000 / 300_000,),
            train_difficult=False,
            svm=SVMSettings(negative_nms=0.7),
            ridge=RidgeSettings(penalty=4000.0, iou=0.5, inclusive=True),
            **_CAFFE,
        ),
    )


def fast_rcnn_alexnet() -> Config:
    """Fast R-CNN on S, AlexNet (arXiv 1504.08083)."""
    return _fast("alexnet", grid=6, frozen=1)


def fast_rcnn_vgg_m() -> Config:
    """Fast R-CNN on M, VGG_CNN_M_1024 (arXiv 1504.08083)."""
    return _fast("vgg-m", grid=6, frozen=1, widths=(4096, 1024))


def fast_rcnn_vgg16() -> Config:
    """Fast R-CNN on L, VGG16 (arXiv 1504.08083)."""
    return _fast("vgg16", grid=7, frozen=2)


def faster_rcnn_zf() -> Config:
    """Faster R-CNN on ZF-5, 4-step alternating training (arXiv 1506.01497)."""
    return _faster("zf", grid=6, width=256, frozen=0)


def faster_rcnn_vgg16() -> Config:
    """Faster R-CNN on VGG16, 4-step alternating training (arXiv 1506.01497)."""
    return _faster("vgg16", grid=7, width=512, frozen=2)


def _rcnn(backbone: Backbone, crop: int, grid: int, batch: int, samples: int) -> Config:
    return Config(
        input=InputSettings(short=500, long=500, bucket="exact32"),
        model=ModelSettings(
            method="rcnn",
            backbone=backbone,
            neck="none",
            proposals=ProposalSettings(train=2000, test=2000),
            head=HeadSettings(crop=crop, context=16, pool=grid, samples=samples, **(_FC | _FINE_TUNED)),
            detections=_SVM_DETECTIONS,
        ),
        training=TrainingSettings(
            batch=batch,
            lr=1e-3,
            new_lr=10.0,
            iterations=70_000,
            drops=(2 / 7, 4 / 7, 6 / 7),
            svm=SVMSettings(difficult=True),
            ridge=RidgeSettings(difficult=True),
            **_CAFFE,
        ),
    )


def _fast(backbone: Backbone, grid: int, frozen: int, widths: tuple[int, int] = (4096, 4096)) -> Config:
    return Config(
        input=InputSettings(short=600, long=1000, bucket="exact32"),
        model=ModelSettings(
            method="fast-rcnn",
            backbone=backbone,
            neck="none",
            frozen_stages=frozen,
            head=_roi_head(grid, widths).model_copy(update={"measured_boxes": True}),
            detections=DetectionSettings(score=0.0, nms=0.3),
        ),
        training=TrainingSettings(batch=2, lr=1e-3, iterations=40_000, **_CAFFE),
    )


def _faster(backbone: Backbone, grid: int, width: int, frozen: int) -> Config:
    return Config(
        input=InputSettings(short=600, long=1000, bucket="exact32"),
        model=ModelSettings(
            method="faster-rcnn",
            backbone=backbone,
            neck="none",
            frozen_stages=frozen,
            rpn=_rpn(width),
            head=_roi_head(grid, (4096, 4096)),
            detections=DetectionSettings(score=0.0, nms=0.3),
        ),
        training=TrainingSettings(
            scheme="4-step",
            batch=2,
            rpn_batch=1,
            lr=1e-3,
            iterations=40_000,
            rpn_iterations=80_000,
            train_difficult=False,
            **_CAFFE,
        ),
    )


def _roi_head(grid: int, widths: tuple[int, int]) -> HeadSettings:
    settings = _FC | {"widths": widths}
    return HeadSettings(pooling="max", pool=grid, samples=64, positive_fraction=0.25, negative_low=0.1, **settings)


def _rpn(width: int) -> RPNSettings:
    return RPNSettings(
        width=width,
        anchor_sizes=((128, 256, 512),),
        anchor_ratios=(0.5, 1.0, 2.0),
        before=6000,
        after=300,
        train_before=100_000,
        train_after=2000,
        side=16.0,
        border=False,
        samples=256,
        balance=10.0,
        per_position=True,
    )
