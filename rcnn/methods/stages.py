"""Every stage of a method on request: what was considered, what went on, and what was dropped where.

The same parts compute the same numbers as the forward pass; `stages(model, batch).detections` is `model(batch)`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils import _pytree as pytree

from rcnn.boxes import clip, decode
from rcnn.heads.box_head import Scored, SVMHead
from rcnn.methods import RCNN, FasterRCNN, Method
from rcnn.ops import nms
from rcnn.postprocess import Candidates, Postprocess, to_original
from rcnn.proposals.rpn import ProposalLimits, Ranked, moved
from rcnn.structures import Batch, PaddedDetections, Proposals, take


@dataclass(frozen=True)
class AnchorStage:
    """What the RPN makes of each anchor, level after level. Boxes in pixels of the original pictures.

    The masks are the steps that an anchor passes, each a part of the one before.
    """

    anchors: Float[Tensor, "B A 4"]
    moved: Float[Tensor, "B A 4"]
    """Moved by their deltas and clipped to the picture: what becomes a proposal."""
    objectness: Float[Tensor, "B A"]
    """From 0 to 1."""
    levels: Int[Tensor, "A"]
    usable: Bool[Tensor, "B A"]
    """Of a cell on the picture."""
    ranked: Bool[Tensor, "B A"]
    """Among the best `limits.before` of the level, and of the least objectness that the limits ask for."""
    large: Bool[Tensor, "B A"]
    """Moved to a box of the least side that the limits ask for: these enter suppression."""
    survives: Bool[Tensor, "B A"]
    """Not suppressed by a better one of the level."""
    kept: Bool[Tensor, "B A"]
    """Among the best `limits.after` of all levels: these are the proposals."""


@dataclass(frozen=True)
class RegionStage:
    """What the head makes of each region and class. Boxes in pixels of the original pictures; the masks as above."""

    scores: Float[Tensor, "B P K"]
    background: Float[Tensor, "B P"]
    """The score of none of the classes: their complement, for support vector machines that of the best."""
    boxes: Float[Tensor, "B P K 4"]
    """The regions as refined for each class, clipped."""
    above: Bool[Tensor, "B P K"]
    """Of a region that is no padding, and above the least score."""
    candidates: Bool[Tensor, "B P K"]
    """Among the best so many of the picture and class: these enter suppression."""
    survives: Bool[Tensor, "B P K"]
    """Not suppressed by a better one of the class."""
    kept: Bool[Tensor, "B P K"]
    """Among the best `detections` of the picture: these are found."""


@dataclass(frozen=True)
class Stages:
    """A forward pass, stage by stage. Boxes in pixels of the original pictures."""

    anchors: AnchorStage | None
    """None for a method whose regions come from outside."""
    proposals: Proposals
    regions: RegionStage
    detections: PaddedDetections
