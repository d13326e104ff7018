"""What is answered, typed: OpenAPI tells clients the same."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated

from jaxtyping import Float
from pydantic import BaseModel, Field
from torch import Tensor

from rcnn.serving.limits import RefusedError
from rcnn.serving.service import Found, State
from rcnn.structures import Detections

Least = float | Float[Tensor, "K"]
"""A score for all classes, or one for each."""
Box = Annotated[
    tuple[float, float, float, float],
    Field(description="x1, y1, x2, y2 in pixels of the picture as it is shown (EXIF turns are done)."),
]


class Detection(BaseModel):
    """An object."""

    class_name: str = Field(serialization_alias="class")
    score: float = Field(ge=0, le=1)
    box: Box


class PictureAnswer(BaseModel):
    """What was found in a picture, best first."""

    name: str = Field(description="The file's name in the form.")
    width: int = Field(description="Of the picture as it is shown, in pixels.")
    height: int
    detections: list[Detection]


class Answer(BaseModel):
    """The pictures in the order in which they were sent."""

    pictures: list[PictureAnswer]
    milliseconds: float = Field(description="From the end of the body to this answer, waiting included.")


class Problem(BaseModel):
    """Why there is no answer, in one line."""

    detail: str


class Health(BaseModel):
    """Whether requests are taken."""

    status: State


class Model(BaseModel):
    """What is served, and within which limits."""

    name: str
    classes: list[str]
    scores: dict[str, float] = Field(description="Class to its least score, unless a request gives another.")
    body_bytes: int
    pixels: int
    pictures: int


def answer(found: Sequence[Found], wanted: frozenset[str], score: Least, most: int | None, seconds: float) -> Answer:
    """The detections of the wanted classes, of at least that score, the best `most` of each picture."""
    pictures = [
        PictureAnswer(
            name=one.name,
            width=one.size[1],
            height=one.size[0],
            detections=_chosen(one.detections.above(score), wanted)[:most],
        )
        for one in found
    ]
    return Answer(pictures=pictures, milliseconds=round(seconds * 1e3, 1))


def _chosen(found: Detections, wanted: frozenset[str]) -> list[Detection]:
    rows = zip(found.names, found.scores.tolist(), found.boxes.tolist(), strict=True)
    return [
        Detection(class_name=name, score=round(score, 5), box=tuple(round(side, 2) for side in box))
        for name, score, box in rows
        if name in wanted
    ]


def wanted_classes(words: Sequence[str], class_names: Sequence[str]) -> frozenset[str]:
    """The classes that a request asks for, all where it names none; raises RefusedError for one that is not known.

    Each word is a class, or several with commas between them.
    """
    parts = (part.strip() for word in words for part in ([word] if word in class_names else word.split(",")))
    names = [part for part in parts if part]
    for name in names:
        if name not in class_names:
            close = get_close_matches(name, class_names, n=1, cutoff=0.4)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(class_names[:20])}"
            raise RefusedError(422, f"classes: no class '{name}'; {hint}")
    return frozenset(names or class_names)
