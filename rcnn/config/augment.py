"""Settings of how pictures vary in training, beyond mirror images and several short sides."""

from typing import Annotated

from pydantic import AfterValidator, Field

from rcnn.config.section import Fraction, Section

Strength = Annotated[float, Field(ge=0)]
Factor = Annotated[float, Field(gt=0, le=10)]


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"{pair[0]:g} is above {pair[1]:g}; give the lower factor first")
    return pair


class AugmentSettings(Section):
    """How pictures vary in training; all of it off unless set. Objects are clipped to what is left of the picture."""

    scale_jitter: Annotated[tuple[Factor, Factor], AfterValidator(_ordered)] = (1.0, 1.0)
    """large-scale jitter: the picture's size times a number between these; what exceeds its canvas is cut off"""
    iou_crop: Fraction = 0.0
    """chance of a cut-out that some object fills well (SSD's)"""
    zoom_out: Fraction = 0.0
    """chance of a smaller picture, somewhere on gray"""
    zoom_out_sides: Annotated[float, Field(ge=1, le=10)] = 4.0
    """the gray picture's sides are up to so many times as long"""
    mosaic: Fraction = 0.0
    """chance of four pictures in one, around a point in its middle half"""
    mosaic_until: Fraction = 0.85
    """after this part of training no more mosaics are made"""
    colour: Fraction = 0.0
    """chance of other colours, by the four strengths below"""
    brightness: Strength = 0.2
    """factor between 1 - brightness and 1 + brightness"""
    contrast: Strength = 0.2
    """the same for contrast"""
    saturation: Strength = 0.2
    """the same for saturation; of pictures with red, green and blue"""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    """turned by up to this part of the colour circle; of pictures with red, green and blue"""
    keep: Fraction = 0.25
    """an object of which less than this part of its area is left is dropped"""
