"""Settings of a backbone's training as a classifier."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from rcnn.config.backbones import Backbone
from rcnn.config.section import Positive, Section
from rcnn.errors import ConfigError


class PretrainSettings(Section):
    """What a pretraining depends on beside its data."""

    backbone: Backbone = "mobilenet-v2"
    """the network"""
    weights: str | None = None
    """what it begins with: a file, `none`, or else torchvision's where there are some"""
    frozen_epochs: Annotated[int, Field(ge=0)] | None = None
    """passes in which the new layer alone learns; 2 with weights to begin with, else 0"""
    epochs: Positive = 10
    """passes after them, in which everything learns"""
    batch: Annotated[int, Field(ge=2)] = 32
    """pictures a step"""
    lr: Annotated[float, Field(gt=0)] | None = None
    """AdamW's rate for new layers, a tenth of it for pretrained ones; 0.001, for the papers' networks 0.0001"""
    size: Annotated[int, Field(ge=8)] | None = None
    """side of the network's input in pixels; 224, for CIFAR-10 64"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the device computes in it"""
    seed: Annotated[int, Field(ge=0)] = 0
    """all chance follows from it"""


def checked(given: Mapping[str, object]) -> PretrainSettings:
    """The settings by name; raises ConfigError, as of the option, for one that is none or out of range."""
    try:
        return PretrainSettings.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        wanted = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
        name = ".".join(map(str, first["loc"])).replace("_", "-")
        raise ConfigError(f"--{name} {first['input']}: {wanted}") from error
