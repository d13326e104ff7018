"""Linear SVMs on the features of regions, one a class, with one pass of hard-negative mining (R-CNN, section 2.3)."""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from rcnn.ops import nms
from rcnn.training.features import FeatureFile, scale_to_norm
from rcnn.training.regions import Regions

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SVMSettings:
    """R-CNN's constants; SPPnet differs in `duplicate_iou`, 0.7. docs/svm.md tells where each is from."""

    c: float = 0.001
    positive_weight: float = 2.0
    """What an error on a positive costs, in errors on a negative."""
    bias_feature: float = 10.0
    """The constant that joins each vector; the larger, the less is the bias regularised."""
    mean_norm: float = 20.0
    """Vectors are scaled by one number so that their mean norm is this."""
    negative_iou: float = 0.3
    """A proposal is a negative of a class if its IoU with each true box of that class is below this."""
    hard: float = -1.0001
    """A negative that scores above this is added."""
    evict: float = -1.2
    """After each training a negative that scores below this is forgotten."""
    retrain: int = 2000
    """A class is trained again when more negatives than this were added."""
    duplicate_iou: float | None = None
    """Of a picture's negatives that overlap by more than this only the hardest counts."""
    train_difficult: bool = False
    """Whether a difficult object is a positive. What overlaps it is no negative either way."""
    tolerance: float = 1e-4
    iterations: int = 20000
    seed: int = 0


@dataclass(frozen=True)
class LinearSVMs:
    """The SVMs of all classes, to be used on vectors as the network gives them."""

    weight: Float[np.ndarray, "K D"]
    bias: Float[np.ndarray, "K"]

    def scores(self, vectors: Float[np.ndarray, "R D"]) -> Float[np.ndarray, "R K"]:
        """The score of each region for each class; 0 is the border, 1 and -1 are the margins."""
        return vectors.astype(np.float32) @ self.weight.T + self.bias


def train_svms(
    file: FeatureFile,
    class_names: Sequence[str],
    settings: SVMSettings = SVMSettings(),
    on_picture: Callable[[int, int], None] | None = None,
) -> LinearSVMs:
    """One SVM for each of `class_names`. `on_picture` hears of each picture: how many are done, of how many.

    A class without a positive or without a negative cannot be learned: it scores -1 everywhere, and the log says so.
    """
    file.require_done()
    scale = scale_to_norm(file.vectors, len(file), settings.mean_norm)
    learners = [
        _Learner(name, _positives(file, label, settings), file.all_vectors, scale, settings)
        for label, name in enumerate(class_names, 1)
    ]
    for picture in range(len(file)):
        _mine(file, picture, learners, settings)
        if on_picture:
            on_picture(picture + 1, len(file))
    for learner in learners:
        learner.finish()
    return _stack(learners)


def _positives(file: FeatureFile, label: int, settings: SVMSettings) -> Int[np.ndarray, "N"]:
    rows = []
    for picture in range(len(file)):
        regions = file.regions(picture)
        wanted = (regions.truth == label) & (settings.train_difficult | ~regions.difficult)
        rows.append(file.first_row[picture] + np.flatnonzero(wanted))
    return np.concatenate(rows)


def _mine(file: FeatureFile, picture: int, learners: "list[_Learner]", settings: SVMSettings) -> None:
    """Offer a picture's negatives to each class."""
    regions = file.regions(picture)
    scores = _stack(learners).scores(file.vectors(picture))
    for index, learner in enumerate(learners):
        hard = (regions.truth == 0) & (regions.overlaps[:, index] < settings.negative_iou)
        if learner.trained:
            hard &= scores[:, index] > settings.hard
        if settings.duplicate_iou is not None:
            hard = _distinct(regions, scores[:, index], hard, settings.duplicate_iou)
        learner.add(file.first_row[picture] + np.flatnonzero(hard))


def _distinct(
    regions: Regions, scores: Float[np.ndarray, "R"], chosen: Bool[np.ndarray, "R"], threshold: float
) -> Bool[np.ndarray, "R"]:
    """Those of the chosen that no harder one overlaps by more than the threshold (SPPnet, section 4.1)."""
    rows = np.flatnonzero(chosen)
    boxes, ranks = torch.from_numpy(regions.boxes[rows])[None], torch.from_numpy(scores[rows])[None]
    groups, valid = torch.zeros(1, len(rows), dtype=torch.int64), torch.ones(1, len(rows), dtype=torch.bool)
    index, kept = nms(boxes, ranks, groups, valid, threshold, len(rows))
    distinct = np.zeros_like(chosen)
    distinct[rows[index[kept].numpy()]] = True
    return distinct


def _stack(learners: "list[_Learner]") -> LinearSVMs:
    """The SVMs as they are, with the scale of the features folded into their weights."""
    weight = np.stack([learner.weight * learner.scale for learner in learners]).astype(np.float32)
    return LinearSVMs(weight, np.array([learner.bias for learner in learners], np.float32))


@dataclass
class _Learner:
    """One class. Of its examples it holds row numbers alone, and reads the vectors when it trains."""

    name: str
    positives: Int[np.ndarray, "N"]
    vectors: Float[np.ndarray, "R D"]
    scale: float
    settings: SVMSettings
    negatives: Int[np.ndarray, "M"] = field(default_factory=lambda: np.zeros(0, np.int64))
    weight: Float[np.ndarray, "D"] = field(init=False)
    bias: float = -1.0
    added: int = 0
    trained: bool = False

    def __post_init__(self) -> None:
        self.weight = np.zeros(self.vectors.shape[1])

    def add(self, rows: Int[np.ndarray, "M"]) -> None:
        """Take in negatives; train at the first ones, and when many have come since the last training."""
        if not len(self.positives):
            return
        self.negatives = np.concatenate((self.negatives, rows))
        self.added += len(rows)
        if self.added > (self.settings.retrain if self.trained else 0):
            self.train()

    def finish(self) -> None:
        """Train on what came since, or tell why there is nothing to be trained."""
        if self.added:
            self.train()
        if not self.trained:
            missing = "no true box" if not len(self.positives) else "no negative proposal"
            _log.warning("class %s: %s to train its SVM with; it will find nothing", self.name, missing)

    def train(self) -> None:
        """Fit positives and the negatives at hand, then forget the negatives that are far from the margin."""
        vectors = self.vectors[np.concatenate((self.positives, self.negatives))].astype(np.float64)
        vectors *= self.scale
        self.weight, self.bias = _fit(vectors, len(self.positives), self.name, self.settings)
        scores = vectors[len(self.positives) :] @ self.weight + self.bias
        self.negatives = self.negatives[scores >= self.settings.evict]
        self.added, self.trained = 0, True


def _fit(
    vectors: Float[np.ndarray, "N D"], positives: int, name: str, settings: SVMSettings
) -> tuple[Float[np.ndarray, "D"], float]:
    """The SVM of vectors of which the first so many are positives: L2-regularised hinge, by liblinear."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    svm = LinearSVC(
        loss="hinge",
        dual=True,
        C=settings.c,
        class_weight={1: settings.positive_weight},
        intercept_scaling=settings.bias_feature,
        tol=settings.tolerance,
        max_iter=settings.iterations,
        random_state=settings.seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        svm.fit(vectors, np.arange(len(vectors)) < positives)
    if svm.n_iter_ >= settings.iterations:
        _log.warning("class %s: its SVM has not converged in %d iterations", name, settings.iterations)
    return svm.coef_[0], float(svm.intercept_[0])
