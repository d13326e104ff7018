"""The options of commands as the settings that they stand for."""

from collections.abc import Sequence
from pathlib import Path

from rcnn.config import Config
from rcnn.errors import ConfigError
from rcnn.presets import DEFAULT_PRESET
from rcnn.presets.overrides import OPTIONS, override, preset
from rcnn.presets.sources import is_of_others, refuse_exported, refuse_unreadable, stored_config


def preset_or_default(name: str | None) -> Config:
    """The settings of a preset."""
    return preset(name or DEFAULT_PRESET)


def begun_with(out: Path, preset_name: str | None, start_from: str | None, resume: bool) -> Config:
    """The settings over which those of `rcnn train` are laid.

    The same command with --resume behind it serves, and so does --resume alone.
    """
    if resume and not preset_name:
        return stored_config(out)
    if start_from is None:
        return preset_or_default(preset_name)
    if not is_of_others(start_from):
        refuse_exported(start_from)
        refuse_unreadable(start_from, "best")
    if preset_name:
        return preset(preset_name)
    from rcnn.api import source_config

    return source_config(start_from)


def looked_at_with(
    run: Path | None, preset_name: str | None, config_file: Path | None, sets: Sequence[str], size: int | None
) -> Config:
    """The settings whose channels, scale and anchors `rcnn check` looks at."""
    if run and preset_name:
        raise ConfigError("--run and --preset: give one of them")
    base = stored_config(run) if run else preset_or_default(preset_name)
    return override(base, config_file, sets, size_options(size), OPTIONS)


def training_options(
    epochs: int | None,
    batch: int | None,
    lr: float | None,
    precision: str | None,
    seed: int | None,
    workers: int | None,
    compile: bool | None,
    scheme: str | None,
) -> dict[str, object]:
    """The options of training."""
    given = {"epochs": epochs, "batch": batch, "lr": lr, "precision": precision, "seed": seed, "workers": workers}
    given |= {"compile": compile, "scheme": scheme}
    return {f"training.{name}": value for name, value in given.items()}


def size_options(size: int | None) -> dict[str, object]:
    """A short side, and the long side that goes with it."""
    return {"input.short": size, "input.long": size * 5 // 3} if size is not None else {}
