"""The order of a training: a scheme is a list of stages, as short as the papers tell it."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from rcnn.training.objectives import RoIObjective, RPNObjective


@dataclass(frozen=True)
class Length:
    """How long a stage learns: `epochs`, or as many as move the weights `iterations` times if that is set."""

    epochs: int
    iterations: int = 0
    batch: int = 0
    """Pictures a step; 0: as many as in any other stage."""

    def epochs_of(self, moves: int) -> int:
        """Passes over the data, each of which moves the weights `moves` times."""
        return -(-self.iterations // moves) if self.iterations else self.epochs


@dataclass(frozen=True)
class Learn:
    """A stage of gradient descent: what it minimises, which parts of the model move, and how long.

    `trains` names parts of the model, by the beginning of their parameters' names; `fresh` those that begin anew from
    the weights that the training began with. `proposals`: those that came with the pictures, or what the model as it
    is before the stage proposes. `judged`: whether the detector is measured after each epoch and its best kept.
    """

    name: str
    objective: nn.Module
    length: Length
    trains: tuple[str, ...] = ("",)
    fresh: tuple[str, ...] = ()
    proposals: Literal["given", "rpn"] = "given"
    judged: bool = True


@dataclass(frozen=True)
class Fit:
    """A stage that solves for a part of the head by itself, from features on disk: SVMs, or box regressors."""

    name: Literal["svm", "ridge"]


Stage = Learn | Fit


def one_stage(name: str, objective: nn.Module, length: Length) -> list[Stage]:
    """Everything at once: Fast R-CNN (section 2.3), and joint training of Faster R-CNN (section 3.2)."""
    return [Learn(name, objective, length)]


def stage_wise(classes: RoIObjective, boxes: RoIObjective, length: Length) -> list[Stage]:
    """First the classifier, then the regression on top of it with all else frozen (Fast R-CNN, section 5.1)."""
    return [
        Learn("classes", classes, length, judged=False),
        Learn("boxes", boxes, length, trains=("head.bbox_pred",)),
    ]


def four_step(rpn: RPNObjective, rois: RoIObjective, rpn_length: Length, length: Length) -> list[Stage]:
    """Alternating training (Faster R-CNN, section 3.2): after the last step one set of convolutions serves both."""
    return [
        Learn("1-rpn", rpn, rpn_length, trains=("backbone", "rpn"), judged=False),
        Learn("2-detector", rois, length, ("backbone", "head"), fresh=("backbone",), proposals="rpn", judged=False),
        Learn("3-rpn", rpn, rpn_length, trains=("rpn",), fresh=("rpn",), judged=False),
        Learn("4-detector", rois, length, trains=("head",), proposals="rpn"),
    ]


def then_svms(objective: RoIObjective, length: Length, trains: tuple[str, ...], ridge: bool) -> list[Stage]:
    """Fine-tuning, then linear SVMs, then box regressors (R-CNN, section 2.3; SPPnet, section 4.1)."""
    stages: list[Stage] = [Learn("fine-tune", objective, length, trains, judged=False), Fit("svm")]
    return [*stages, Fit("ridge")] if ridge else stages
