"""The four methods by name, and whether a comparison of them is asked for in names that there are."""

from collections.abc import Collection, Sequence

from rcnn.config.backbones import known_backbone
from rcnn.errors import ConfigError

METHODS = ("rcnn", "sppnet", "fast-rcnn", "faster-rcnn")


def check_names(methods: Sequence[str], given: Collection[str], changed: Collection[str], backbone: str) -> None:
    """Raise ConfigError for a backbone or a method that is none, or one that is `given` or `changed` and not compared.

    The options are those of `rcnn compare`: `given` a run, `changed` in settings.
    """
    for option, names in (("--methods", methods), ("--run", given), ("--set-for", changed)):
        if unknown := [name for name in names if name not in METHODS]:
            raise ConfigError(f"{option} {unknown[0]}: no such method; choose from {', '.join(METHODS)}")
        if idle := [name for name in names if name not in methods]:
            raise ConfigError(f"{option} {idle[0]}: not compared; add it to --methods")
    if not methods:
        raise ConfigError(f"--methods: names none; choose from {', '.join(METHODS)}")
    try:
        known_backbone(backbone)
    except ValueError as error:
        raise ConfigError(f"--backbone: {error}") from error
