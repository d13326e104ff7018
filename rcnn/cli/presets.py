"""`rcnn presets` and `rcnn config`: what there is to choose from."""

from pathlib import Path
from typing import Annotated

import typer

from rcnn.presets import PRESETS
from rcnn.presets.overrides import override, preset
from rcnn.presets.yaml import to_yaml

ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings in YAML, as 'rcnn config' prints; or a part.")
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, as training.lr=0.01; repeatable.")
]


def presets() -> None:
    """List the presets."""
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
