"""Settings that would train without a word, but not what they say."""

from rcnn.config import Config
from rcnn.errors import ConfigError

SCHEMES = {
    "rcnn": ("auto",),
    "sppnet": ("auto",),
    "fast-rcnn": ("auto", "multi-task", "stage-wise"),
    "faster-rcnn": ("auto", "approximate-joint", "4-step", "exact-joint"),
}
"""Which schemes a method knows; the first is what `auto` stands for, or the only one."""
MANY_CANVASES = "with a canvas of its own (input.bucket) most pictures would be compiled for anew; choose coarse"


def refuse(config: Config) -> None:
    """Raise ConfigError for settings that do not go together; nothing is built or read for it."""
    _refuse_scheme(config)
    _refuse_stages(config)
    _refuse_head(config)
    _refuse_losses(config)
    if config.training.patience and config.model.head.classifier == "svm":
        raise ConfigError("training.patience: before its SVMs the detector is not judged; pass 0")
    if config.input.channels != 3 and config.model.method != "faster-rcnn":
        raise ConfigError(
            f"input.channels: {config.model.method} needs regions from selective search, which sees colours; "
            "choose faster-rcnn"
        )
    if config.input.resize == "pillow" and (config.input.channels != 3 or config.input.range is not None):
        raise ConfigError("input.resize: pillow resizes RGB of 8 bits alone; choose bilinear")
    if config.training.augment.colour and config.input.range is not None:
        raise ConfigError("training.augment.colour: is for pictures of 8 or 16 bits, not with input.range; pass 0")
    if config.training.compile and config.input.bucket != "coarse":
        raise ConfigError(f"training.compile: {MANY_CANVASES}")


def _refuse_scheme(config: Config) -> None:
    scheme, method = config.training.scheme, config.model.method
    if scheme in SCHEMES[method]:
        return
    if len(SCHEMES[method]) == 1:
        raise ConfigError(f"training.scheme: {method} has one scheme only; leave --scheme out")
    known = ", ".join(SCHEMES[method])
    raise ConfigError(f"training.scheme: {scheme} is no scheme of {method}; choose {known}")


def _refuse_stages(config: Config) -> None:
    """What the stages of a scheme cannot do."""
    scheme, method, head = config.training.scheme, config.model.method, config.model.head
    if head.classifier == "svm" and (method == "faster-rcnn" or scheme == "stage-wise"):
        raise ConfigError(f"model.head.classifier: svm has no stage in {method}, {scheme}; choose softmax")
    if head.measured_boxes and method == "faster-rcnn":
        raise ConfigError("model.head.measured_boxes: faster-rcnn has no proposals before it trains; pass false")
    if scheme == "stage-wise" and not head.box_loss:
        raise ConfigError("model.head.box_loss: is 0, but stage-wise training ends with the boxes; give a weight")
    if scheme == "exact-joint" and head.pooling == "max":
        raise ConfigError("model.head.pooling: max pooling gives boxes no gradient for exact-joint; choose align")
    if scheme == "exact-joint" and head.sampling == 0:
        raise ConfigError("model.head.sampling: 0 gives boxes no gradient for exact-joint; give the points of a bin")


def _refuse_head(config: Config) -> None:
    """Boxes that nothing moves, or that would be moved by what never learns; a neck that the method does not read."""
    method, head = config.model.method, config.model.head
    if method in ("rcnn", "sppnet") and config.model.neck != "none":
        raise ConfigError(f"model.neck: {method} reads one map, not a pyramid of them; pass model.neck=none")
    if config.model.neck == "c4" and head.classifier == "svm":
        raise ConfigError("model.head.classifier: svm does not go with model.neck=c4; choose softmax")
    if head.ridge and head.classifier != "svm":
        raise ConfigError("model.head.ridge: is solved for after the SVMs; pass false, or model.head.classifier=svm")
    if config.model.detections.refine and not head.box_loss and not head.ridge:
        raise ConfigError(
            "model.head.box_loss: is 0, so nothing teaches the deltas that move the boxes; "
            "give a weight, or pass model.detections.refine=false"
        )


def _refuse_losses(config: Config) -> None:
    """Losses of what is not there, or does not learn by them."""
    model, loss = config.model, config.training.loss
    if model.method != "faster-rcnn" and (loss.objectness, loss.proposals) != ("cross-entropy", "smooth-l1"):
        name = "proposals" if loss.objectness == "cross-entropy" else "objectness"
        raise ConfigError(f"training.loss.{name}: {model.method} has no RPN to learn by it; leave it out")
    if loss.boxes == "giou" and (model.head.ridge or not model.head.box_loss):
        reason = "ridge solves for the boxes" if model.head.ridge else "model.head.box_loss is 0"
        raise ConfigError(f"training.loss.boxes: giou teaches nothing where {reason}; choose smooth-l1")
    if loss.regions != "ohem":
        return
    if model.head.classifier == "svm" or model.method in ("rcnn", "sppnet"):
        raise ConfigError(
            "training.loss.regions: ohem is for the softmax of fast-rcnn and faster-rcnn, and SVMs find their own hard "
            "examples; choose random"
        )
    if model.neck_norm == "batch" and model.head.convs:
        raise ConfigError(
            "training.loss.regions: with ohem all regions would count in the head's batch norm; choose random, or "
            "model.neck_norm=frozen"
        )
