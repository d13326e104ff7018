"""Box regression by ridge, one regressor a class (R-CNN, appendix C), solved for features of any width."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rcnn.boxes import encode, iou
from rcnn.errors import ConfigError
from rcnn.training.features import FeatureFile, scale_to_norm
from rcnn.training.ridge_solvers import Problem, solve

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RidgeSettings:
    """R-CNN's constants; SPPnet has `penalty` 4000, `minimum_iou` 0.5 and `inclusive`."""

    penalty: float = 1000.0
    """Lambda; the bias pays it too."""
    minimum_iou: float = 0.6
    """Proposals teach whose IoU with their best true box is above this."""
    inclusive: bool = False
    """Whether an IoU of exactly `minimum_iou` teaches too."""
    mean_norm: float = 20.0
    """Features are scaled by one number so that their mean norm is this."""
    whitening: float = 0.001
    """Added to the variances of the targets before they are brought to one."""
    train_difficult: bool = False
    """Whether proposals teach whose best true box is a difficult object."""
    memory: int = 4 * 2**30
    """Bytes that the matrix of the equations and its factor may take; beyond, conjugate gradients do without."""


@dataclass(frozen=True)
class BoxRegressors:
    """From pooled features as the network gives them to the deltas of `rcnn.boxes.decode`: weight @ features + bias."""

    weight: Float[np.ndarray, "K 4 E"]
    bias: Float[np.ndarray, "K 4"]


def train_regressors(
    file: FeatureFile,
    class_names: Sequence[str],
    settings: RidgeSettings = RidgeSettings(),
    on_class: Callable[[int, int], None] | None = None,
) -> BoxRegressors:
    """One regressor for each of `class_names`. `on_class` hears of each: how many are done, of how many.

    The class of its best true box decides which regressor a proposal teaches. A class without proposals moves no box.
    """
    file.require_done()
    if settings.minimum_iou < file.pooled_iou:
        raise ConfigError(
            f"{file.path}: holds pooled features from IoU {file.pooled_iou} on, and box regression asks for "
            f"{settings.minimum_iou}; make the file with a lower one"
        )
    rows, labels, deltas = _examples(file, settings)
    scale = scale_to_norm(file.pooled, len(file), settings.mean_norm)
    weight = np.zeros((len(class_names), 4, file.all_pooled.shape[1]), np.float32)
    bias = np.zeros((len(class_names), 4), np.float32)
    for index, name in enumerate(class_names):
        mine = labels == index + 1
        if mine.any():
            weight[index], bias[index] = _regress(file.all_pooled, rows[mine], deltas[mine], scale, settings)
        else:
            _log.warning("class %s: no proposal overlaps its objects enough to teach box regression", name)
        if on_class:
            on_class(index + 1, len(class_names))
    return BoxRegressors(weight, bias)


def _examples(
    file: FeatureFile, settings: RidgeSettings
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"], Float[np.ndarray, "n 4"]]:
    """Rows of the pooled features, with the class and the deltas to the best true box of each."""
    parts = [_examples_of(file, picture, settings) for picture in range(len(file))]
    rows, labels, deltas = (np.concatenate(column) for column in zip(*parts, strict=True))
    return rows, labels, deltas


def _examples_of(file: FeatureFile, picture: int, settings: RidgeSettings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    regions, pooled = file.regions(picture), file.pooled_rows(picture)
    truth = np.flatnonzero(regions.truth)
    if not len(truth):
        return np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros((0, 4))
    proposals = torch.from_numpy(regions.boxes[pooled]).double()
    objects = torch.from_numpy(regions.boxes[truth]).double()
    top, best = (values.numpy() for values in iou(proposals, objects).max(1))
    near = top >= settings.minimum_iou if settings.inclusive else top > settings.minimum_iou
    taught = np.flatnonzero(near & (settings.train_difficult | ~regions.difficult[truth[best]]))
    best = best[taught]
    deltas = encode(objects[best], proposals[taught])
    return file.first_pooled[picture] + taught, regions.truth[truth[best]], deltas.numpy()


def _regress(
    features: Float[np.ndarray, "N E"],
    rows: Int[np.ndarray, "n"],
    deltas: Float[np.ndarray, "n 4"],
    scale: float,
    settings: RidgeSettings,
) -> tuple[Float[np.ndarray, "4 E"], Float[np.ndarray, "4"]]:
    """One class: learn centred, whitened targets, then fold mean, whitening and scale into the result."""
    targets = torch.from_numpy(deltas)
    mean = targets.mean(0)
    white, back = whitening(targets - mean, settings.whitening)
    problem = Problem(features, rows, scale, (targets - mean) @ white, settings.penalty)
    found = solve(problem, settings.memory) @ back
    return (found[:-1].T * scale).float().numpy(), (found[-1] + mean).float().numpy()


def whitening(centred: Float[Tensor, "n 4"], extra: float) -> tuple[Float[Tensor, "4 4"], Float[Tensor, "4 4"]]:
    """What makes the covariance of centred targets one (but for `extra`), and what takes that back."""
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    spread = (values.clamp(min=0) + extra).sqrt()
    return (vectors / spread) @ vectors.T, (vectors * spread) @ vectors.T
