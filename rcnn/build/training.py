"""From settings to what training needs."""

from collections.abc import Sequence
from dataclasses import replace

from rcnn.build.losses import box_loss, class_loss, objectness_loss, region_choice
from rcnn.build.model import preprocess
from rcnn.build.refuse import refuse
from rcnn.config import Config, ModelSettings, TrainingSettings
from rcnn.data.augment import Augment, ColourRanges
from rcnn.data.loader import Batches
from rcnn.data.repeats import repeat_factors
from rcnn.methods import FasterRCNN, FastRCNN, Method, SPPnet
from rcnn.proposals.rpn import ProposalLimits
from rcnn.sample import Sample
from rcnn.training.objectives import JointObjective, RoILoss, RoIObjective, RPNLoss, RPNObjective
from rcnn.training.optim import OptimizerSettings, Schedule
from rcnn.training.ridge import RidgeSettings
from rcnn.training.sampling import Sampling
from rcnn.training.schemes import Length, Stage, four_step, one_stage, stage_wise, then_svms
from rcnn.training.svm import SVMSettings


def stages(model: Method, config: Config, class_names: Sequence[str] = ()) -> list[Stage]:
    """The training of a model, stage by stage; raises ConfigError for settings that do not go together.

    `class_names`: those of the labels 1..K, which weights of classes are told by.
    """
    refuse(config)
    scheme = config.training.scheme
    length, rois = _length(config.training), _roi_loss(model, config, class_names)
    if isinstance(model, FasterRCNN):
        return _faster(model, config, length, rois)
    name, learner = ("multi-task", model.at_one_scale()) if isinstance(model, FastRCNN) else ("fine-tune", model)
    objective = RoIObjective(learner, rois)
    if config.model.head.classifier == "svm":
        trains = ("head.",) if isinstance(model, SPPnet) else ("backbone.", "head.")
        return then_svms(objective, length, trains, config.model.head.ridge)
    if scheme == "stage-wise":
        return stage_wise(
            RoIObjective(learner, replace(rois, box=0.0)),
            RoIObjective(learner, replace(rois, score=0.0)),
            length,
        )
    return one_stage(name, objective, length)


def _faster(model: FasterRCNN, config: Config, length: Length, rois: RoILoss) -> list[Stage]:
    rpn, limits = _rpn_loss(config), training_limits(config.model)
    match config.training.scheme:
        case "4-step":
            return four_step(RPNObjective(model, rpn), RoIObjective(model, rois), _rpn_length(config.training), length)
        case "exact-joint":
            return one_stage("exact-joint", JointObjective(model, rpn, rois, limits, exact=True), length)
        case _:
            return one_stage("approximate-joint", JointObjective(model, rpn, rois, limits), length)


def training_limits(settings: ModelSettings) -> ProposalLimits:
    """How many proposals a model learns from."""
    rpn = settings.rpn
    return ProposalLimits(rpn.train_before, rpn.train_after, rpn.score, rpn.nms, rpn.side)


def _rpn_loss(config: Config) -> RPNLoss:
    rpn = config.model.rpn
    return RPNLoss(
        Sampling(rpn.samples, rpn.positive_fraction, rpn.positive_iou, rpn.negative_iou, best_match=True),
        objectness_loss(config.training.loss),
        box_loss(config.training.loss.proposals, rpn.beta),
        rpn.balance,
        rpn.per_position,
        rpn.border,
        config.training.train_difficult,
    )


def _roi_loss(model: Method, config: Config, class_names: Sequence[str]) -> RoILoss:
    head, loss = config.model.head, config.training.loss
    return RoILoss(
        Sampling(head.samples, head.positive_fraction, head.positive_iou, head.negative_iou, head.negative_low),
        class_loss(loss, class_names, model.head.box_mean.device),
        box_loss(loss.boxes, head.beta),
        box=head.box_loss,
        train_difficult=config.training.train_difficult,
        choose=region_choice(loss),
    )


def _length(settings: TrainingSettings) -> Length:
    return Length(settings.epochs, settings.iterations)


def _rpn_length(settings: TrainingSettings) -> Length:
    """How long 4-step training's stages of the RPN are: as the others unless they have a length of their own."""
    own = settings.rpn_epochs or settings.rpn_iterations
    iterations = settings.rpn_iterations if own else settings.iterations
    return Length(settings.rpn_epochs or settings.epochs, iterations, settings.rpn_batch)


def augment(settings: TrainingSettings) -> Augment:
    """How pictures vary in training."""
    own = settings.augment
    return Augment(
        settings.flip,
        settings.scales,
        own.scale_jitter,
        own.iou_crop,
        own.zoom_out,
        own.zoom_out_sides,
        own.mosaic,
        own.colour,
        ColourRanges(own.brightness, own.contrast, own.saturation, own.hue),
        own.keep,
    )


def batches(
    config: Config,
    samples: Sequence[Sample],
    class_names: Sequence[str],
    learning: bool = True,
    batch: int | None = None,
    proposals: int = 0,
    raw: bool = False,
) -> Batches:
    """Batches to learn from, shuffled, varied and repeated; or as the pictures are."""
    settings = config.training
    return Batches(
        samples,
        class_names,
        preprocess(config.input),
        batch or settings.batch,
        augment(settings) if learning else None,
        settings.seed,
        settings.workers if learning else 0,
        shuffle=learning,
        max_pixels=config.input.max_pixels,
        proposals=proposals,
        raw=raw,
        repeats=repeat_factors(samples, settings.repeat) if learning and settings.repeat else None,
    )


def optimizer_settings(settings: TrainingSettings) -> OptimizerSettings:
    """The optimizer, its rate scaled to the pictures that one step sees."""
    pictures = settings.batch * settings.accumulate
    scaled = settings.optimizer == "sgd" and settings.lr_pictures
    lr = settings.lr * pictures / settings.lr_pictures if scaled else settings.lr
    return OptimizerSettings(
        settings.optimizer,
        lr,
        settings.momentum,
        settings.weight_decay,
        settings.bias_lr,
        settings.bias_decay,
        settings.new_lr,
    )


def schedule(settings: TrainingSettings, steps: int) -> Schedule:
    """The rate over a stage of `steps`."""
    drops = settings.drops if settings.schedule == "step" else None
    return Schedule(steps, min(settings.warmup, steps // 2), drops)


def svm_settings(settings: TrainingSettings) -> SVMSettings:
    """How support vector machines are trained."""
    svm = settings.svm
    return SVMSettings(
        c=svm.cost,
        positive_weight=svm.positive_weight,
        bias_feature=svm.bias,
        mean_norm=svm.norm,
        negative_iou=svm.negative_iou,
        duplicate_iou=svm.negative_nms if svm.negative_nms < 1 else None,
        train_difficult=svm.difficult,
    )


def ridge_settings(settings: TrainingSettings) -> RidgeSettings:
    """How box regressors are solved for."""
    ridge = settings.ridge
    return RidgeSettings(
        penalty=ridge.penalty,
        minimum_iou=ridge.iou,
        inclusive=ridge.inclusive,
        mean_norm=ridge.norm,
        train_difficult=ridge.difficult,
    )
