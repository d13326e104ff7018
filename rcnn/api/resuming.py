"""A run that goes on: what it was begun with, and what must not have changed since."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from rcnn.config import Config
from rcnn.errors import ConfigError
from rcnn.presets.overrides import OPTIONS, flat
from rcnn.runs import RunFolder
from rcnn.sample import DataSet

_MAY_CHANGE = {"training.workers", "training.save_minutes", "training.patience"}


def refuse_changes(stored: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """A resumed run goes on as it began: nothing that shapes it may have changed."""
    if stored["class_names"] != now["class_names"]:
        raise ConfigError(f"--resume: the run has classes {', '.join(stored['class_names'])}; the data has others")
    before, after = (_files(m) | _settings(m) | flat(m["splits"], "split ") for m in (stored, now))
    changed = [key for key in after if after[key] != before.get(key) and key not in _MAY_CHANGE]
    if changed:
        key = changed[0]
        raise ConfigError(
            f"--resume: {key} is {after[key]}, but the run began with {before.get(key)}; "
            f"{_advice(key, before.get(key))}, or give --resume alone"
        )


def _advice(key: str, begun: Any) -> str:
    """What to add to the command line, so that a setting, a split or a file is as it was."""
    option = f"--{key.removeprefix('split ')}-split" if key.startswith("split ") else key
    if option.startswith("--"):
        return f"add {option} {shlex.quote(begun)}" if begun else f"leave {option} out"
    instead = f" in place of {OPTIONS[key]}" if key in OPTIONS else ""  # which wins over --set
    return f"add --set {setting(key, begun)}{instead}"


def setting(key: str, value: Any) -> str:
    """A setting as the shell takes it: `training.lr=0.01`, 'training.scales=[400, 480]'."""
    return shlex.quote(f"{key}={value if isinstance(value, str) else json.dumps(value)}")


def _settings(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """All settings; those that a run of an earlier version had not yet, as they are by default."""
    return flat(Config.model_validate(metadata["config"]).model_dump(mode="json"))


def _files(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Files that a run began with, by their options. First of all: settings follow from them."""
    reading = metadata["reading"]
    return {"--proposals": reading["proposals"], "--backbone-weights": reading.get("backbone_weights")} | {
        "--from": reading.get("start_from"),
        "--weights": reading.get("start_weights"),
    }


def refuse_other_pictures(folder: RunFolder, dataset: DataSet, splits: Mapping[str, str]) -> None:
    """The order of pictures, and where an epoch was interrupted, mean nothing for other pictures."""
    before, now = json.loads(folder.splits.read_text("utf-8")), ids_of(dataset)
    used = {*splits.values(), *(("train", "val") if "trainval" in splits.values() else ())}
    changed = sorted(name for name in used if before.get(name) != now.get(name))
    if changed:
        raise ConfigError(
            f"--resume: split {changed[0]} has other pictures than when the run began; "
            "restore them, or begin anew with --overwrite"
        )


def ids_of(dataset: DataSet) -> dict[str, list[str]]:
    """The ids of the samples of each split."""
    return {name: [sample.id for sample in part] for name, part in dataset.splits.items()}
