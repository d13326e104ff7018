"""Settings of what the network sees. Units are pixels of the resized picture."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from rcnn.config.section import Positive, Section

COLOUR_MEAN, COLOUR_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, which pretrained weights expect."""


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
    channels: Positive = 3
    """of a picture; 3 are red, green and blue"""
    range: tuple[float, float] | None = None
    """the values that are 0 and 1 to the network; null: 0..255 of 8 bits, 0..65535 of 16; float pictures need it"""
    mean: Annotated[tuple[float, ...], Field(validate_default=True)] = COLOUR_MEAN
    """subtracted from each channel in 0..1; for other than 3 channels 0.5 unless given"""
    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(validate_default=True)] = COLOUR_STD
    """what is left is divided by it; for other than 3 channels 0.25 unless given"""
    max_pixels: Positive = 100_000_000
    """larger pictures are refused before they are decoded"""

    @field_validator("mean", "std")
    @classmethod
    def _one_each(cls, values: tuple[float, ...], info: Any) -> tuple[float, ...]:
        """One for each channel; those of colours are not meant for pictures of other channels."""
        # `info` is a ValidationInfo, a protocol that cannot be checked at run time.
        channels = info.data.get("channels", 3)
        colours, usual = (COLOUR_MEAN, 0.5) if info.field_name == "mean" else (COLOUR_STD, 0.25)
        if channels != 3 and values == colours:
            return (usual,) * channels
        if len(values) != channels:
            raise ValueError(f"{len(values)} items for {channels} channels; give one for each")
        return values

    @model_validator(mode="after")
    def _ordered(self) -> "InputSettings":
        if self.long < self.short:
            raise ValueError(f"long ({self.long}) is below short ({self.short})")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError(f"range {list(self.range)}: the first must be below the second")
        return self
