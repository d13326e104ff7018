"""`rcnn presets` and `rcnn config`: what there is to choose from."""

from typing import Annotated

import typer
from rich.console import Console

from rcnn.cli.options import ConfigFile, Sets
from rcnn.cli.tables import flowed
from rcnn.config import BACKBONES
from rcnn.presets import PRESETS
from rcnn.presets.overrides import override, preset
from rcnn.presets.yaml import to_yaml


def presets(
    backbones: Annotated[bool, typer.Option("--backbones", help="List the values of model.backbone instead.")] = False,
) -> None:
    """List the presets, or the networks that any of them can have as its backbone."""
    if backbones:
        print("\n".join(flowed(BACKBONES, Console().width)))
        print("timm:NAME  any feature extractor of timm, which timm.list_models() lists (extra timm)")
        return
    width = max(map(len, PRESETS))
    for name, function in PRESETS.items():
        print(f"{name:<{width}}  {(function.__doc__ or '').partition(chr(10))[0]}")


def config(
    name: Annotated[str, typer.Argument(metavar="PRESET", help="One of those that 'rcnn presets' lists.")],
    config_file: ConfigFile = None,
    sets: Sets = None,
) -> None:
    """Print all settings of a preset as YAML, each with its meaning.

    Save it, change it, and pass it to 'rcnn train' as --config FILE.
    """
    print(to_yaml(override(preset(name), config_file, sets or (), {})), end="")
