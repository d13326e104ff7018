"""From pooled features to class scores and box deltas (Fast R-CNN, section 2)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rcnn.boxes import Weights


@dataclass(frozen=True)
class LastStage:
    """The last stage of a network, which each pooled region goes through by itself: a head of the C4 kind.

    `channels` come out of its `layers`, on a grid of 1 / `stride` of the cells a side, rounded up.
    """

    layers: nn.Sequential
    channels: int
    stride: int


Scored = tuple[Float[Tensor, "N K"], Float[Tensor, "N K 4"]]


class BoxHead(nn.Module):
    """Optional 3x3 convolutions, fully connected layers, then the two siblings: K + 1 logits, and 4 deltas a class.

    `fc6` takes the features of a region cell by cell, channels last, which is how the pooling operators lay them out:
    flattening copies nothing. With `average` it takes their mean over the cells instead, as the classifiers of
    ResNets and MobileNets do. `stage` is the last part of a network that was cut in two, through which regions
    go first; `channels` and `cells` are then what comes out of it.

    `weights` are what the targets of the regression are multiplied with; `measured` says that they will be normalised
    by mean and deviation instead, which are then the model's to keep.
    """

    box_mean: Tensor
    box_std: Tensor

    def __init__(
        self,
        channels: int,
        cells: int,
        classes: int,
        widths: Sequence[int] = (1024, 1024),
        convs: int = 0,
        norm: Callable[[int], nn.Module] | None = None,
        dropout: float = 0.0,
        average: bool = False,
        weights: Weights = (10.0, 10.0, 5.0, 5.0),
        measured: bool = False,
        small_start: bool = False,
        stage: nn.Sequential | None = None,
    ) -> None:
        super().__init__()
        self.stage = stage
        self.convs = nn.Sequential(*(_convolution(channels, norm) for _ in range(convs)))
        self.average = average
        self.dropout = nn.Dropout(dropout)
        sides = [channels if average else channels * cells, *widths]
        names = [f"fc{6 + n}" for n in range(len(widths))]
        self.layers = nn.ModuleDict({n: nn.Linear(a, b) for n, a, b in zip(names, sides, sides[1:], strict=False)})
        self.pooled_width, self.width = channels * cells, sides[-1]
        self.cls_score = nn.Linear(self.width, classes + 1)
        self.bbox_pred = nn.Linear(self.width, 4 * (classes + 1))
        if small_start:
            for layer, spread in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):  # Fast R-CNN, section 3
                nn.init.normal_(layer.weight, std=spread)
                nn.init.zeros_(layer.bias)
        self.register_buffer("box_mean", torch.zeros(classes + 1, 4), persistent=measured)
        self.register_buffer("box_std", (1 / torch.tensor(weights)).repeat(classes + 1, 1), persistent=measured)

    def vectors(self, pooled: Float[Tensor, "N C h w"]) -> Float[Tensor, "N D"]:
        """What the siblings, and support vector machines, read: fc7, or whatever comes last."""
        x = self.convs(pooled if self.stage is None else self.stage(pooled))
        x = x.mean((2, 3)) if self.average else flat(x)
        for layer in self.layers.values():
            x = self.dropout(F.relu(layer(x)))
        return x

    def forward(self, pooled: Float[Tensor, "N C h w"]) -> tuple[Float[Tensor, "N K1"], Float[Tensor, "N K1 4"]]:
        """Logits and normalised deltas of each region; class 0 is the background."""
        x = self.vectors(pooled)
        return self.cls_score(x), self.bbox_pred(x).unflatten(1, (-1, 4))

    def predict(self, pooled: Float[Tensor, "N C h w"]) -> Scored:
        """Probabilities and plain deltas of each region for the classes 1..K."""
        logits, deltas = self(pooled)
        return logits.float().softmax(-1)[:, 1:], self.plain(deltas)

    def plain(self, deltas: Float[Tensor, "N K1 4"]) -> Float[Tensor, "N K 4"]:
        """The deltas of the classes 1..K as `boxes.decode` takes them."""
        return (deltas.float() * self.box_std + self.box_mean)[:, 1:]


class SVMHead(BoxHead):
    """A head whose classes are told by a linear support vector machine each, trained on its vectors afterwards.

    A score is the logistic function of the margin: 0.5 on the SVM's border, and the same order as the margins.
    With `ridge` the boxes come from linear regressors on the pooled features (R-CNN, appendix C), else from the
    network's own.
    """

    def __init__(self, *sizes: int, ridge: bool, **settings: object) -> None:
        super().__init__(*sizes, **settings)  # type: ignore[arg-type]
        classes = sizes[2]
        self.svm = nn.Linear(self.width, classes)
        self.ridge = nn.Linear(self.pooled_width, 4 * classes) if ridge else None

    def predict(self, pooled: Float[Tensor, "N C h w"]) -> Scored:
        """The SVMs' scores and plain deltas of each region for the classes 1..K."""
        x = self.vectors(pooled)
        scores = self.svm(x).float().sigmoid()
        if self.ridge is None:
            return scores, self.plain(self.bbox_pred(x).unflatten(1, (-1, 4)))
        return scores, self.ridge(flat(pooled)).float().unflatten(1, (-1, 4))


def flat(pooled: Float[Tensor, "N C h w"]) -> Float[Tensor, "N D"]:
    """A region's features as one row, cell by cell, channels last."""
    return pooled.permute(0, 2, 3, 1).flatten(1)


def _convolution(channels: int, norm: Callable[[int], nn.Module] | None) -> nn.Sequential:
    layers = [nn.Conv2d(channels, channels, 3, padding=1, bias=norm is None)]
    return nn.Sequential(*layers, *([norm(channels)] if norm else []), nn.ReLU(inplace=True))
