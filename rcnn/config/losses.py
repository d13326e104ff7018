"""Settings of what training minimises."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from rcnn.config.section import Fraction, Section

Weight = Annotated[float, Field(gt=0)]
ClassWeights = Annotated[
    Annotated[Literal["balanced"], Tag("word")] | Annotated[dict[str, Weight], Tag("table")],
    Discriminator(lambda value: "word" if isinstance(value, str) else "table"),
]


class LossSettings(Section):
    """What a wrong score or a wrong box costs."""

    objectness: Literal["cross-entropy", "focal"] = "cross-entropy"
    """of the RPN's scores"""
    classes: Literal["cross-entropy", "focal"] = "cross-entropy"
    """of the head's scores"""
    gamma: Annotated[float, Field(ge=1)] = 2.0
    """focal: what is scored well already counts less by (1 - score) to this power"""
    alpha: Fraction = 0.25
    """focal: what an object counts, and the background 1 - alpha; 0: both count 1"""
    proposals: Literal["smooth-l1", "giou"] = "smooth-l1"
    """of the RPN's boxes"""
    boxes: Literal["smooth-l1", "giou"] = "smooth-l1"
    """of the head's boxes"""
    class_weights: ClassWeights = Field(default_factory=dict)
    """of the head's scores: what objects of a class count, as {name: 2.0}, 1 where none is given; or balanced: so that
    all classes count alike, which is written into the run's settings as it was found"""
    regions: Literal["random", "ohem"] = "random"
    """which regions the head learns from: a random mini-batch, or those that cost most (online hard examples)"""
    regions_nms: Annotated[float, Field(gt=0, le=1)] = 0.7
    """ohem: of regions that overlap by more, the one that costs most is taken"""
