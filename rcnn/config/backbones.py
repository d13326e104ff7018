"""The names of the convolutional networks. A name follows the paper or torchvision; timm's are not listed."""

import difflib
from typing import Annotated

from pydantic import AfterValidator

OWN = (
    *("mobilenet-v2", "mobilenet-v3-large", "mobilenet-v3-large-top", "resnet18", "resnet34", "resnet50", "resnet101"),
    *("resnet50-caffe", "resnet101-caffe"),
    *("small", "alexnet", "caffenet", "vgg-m", "vgg16", "zf"),
)
"""Those that are named as in the papers, or stand in a preset."""

TORCHVISION = (
    *(f"convnext_{size}" for size in ("tiny", "small", "base", "large")),
    *(f"densenet{depth}" for depth in (121, 161, 169, 201)),
    *(f"efficientnet_b{number}" for number in range(8)),
    *(f"efficientnet_v2_{size}" for size in "sml"),
    *(f"mnasnet{width}" for width in ("0_5", "0_75", "1_0", "1_3")),
    "mobilenet_v3_small",
    *(f"regnet_x_{size}" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf")),
    *(f"regnet_y_{size}" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf", "128gf")),
    *("resnet152", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
    *(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")),
    *("squeezenet1_0", "squeezenet1_1"),
    *(f"swin_{size}" for size in ("t", "s", "b")),
    *(f"swin_v2_{size}" for size in ("t", "s", "b")),
    *("vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16_bn", "vgg19", "vgg19_bn"),
)
"""Those that have torchvision's names; without the networks that see one size of picture, or pad nothing."""

BACKBONES = (*OWN, *TORCHVISION)


def known_backbone(name: str) -> str:
    """The name, if it is one; raises ValueError, with what may have been meant, for others. timm knows its own."""
    if name in BACKBONES or name.startswith("timm:"):
        return name
    near = difflib.get_close_matches(name.replace("_", "-"), BACKBONES, 1) or difflib.get_close_matches(
        name, BACKBONES, 1
    )
    meant = f" (did you mean {near[0]}?)" if near else ""
    raise ValueError(
        f"no backbone {name!r}{meant}; 'rcnn presets --backbones' lists them, and timm:NAME is one of timm's"
    )


Backbone = Annotated[str, AfterValidator(known_backbone)]
"""The name of a convolutional network."""
