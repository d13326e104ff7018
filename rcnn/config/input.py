"""Settings of what the network sees. Units are pixels of the resized picture."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rcnn.config.section import Positive, Section


class InputSettings(Section):
    """From a picture to the network's input."""

    short: Annotated[int, Field(ge=32)] = 800
    """the short side after resizing"""
    long: Positive = 1333
    """at most so long a long side; the short side gives way"""
    resize: Literal["bilinear", "pillow"] = "bilinear"
    """bilinear: as torchvision's detectors do, sizes rounded down; pillow: as detectron2 does, antialiased, rounded"""
    bucket: Literal["coarse", "exact32", "exact"] = "coarse"
    """canvas sizes: coarse (five, which pictures share), exact32 (each picture's own, rounded up to 32) or exact"""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """subtracted from red, green, blue in 0..1"""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """what is left is divided by it"""
    max_pixels: Positive = 100_000_000
    """larger pictures are refused before they are decoded"""

    @model_validator(mode="after")
    def _ordered(self) -> "InputSettings":
        if self.long < self.short:
            raise ValueError(f"long ({self.long}) is below short ({self.short})")
        return self
