"""From a preset to the settings of one run: a file, then `--set`, then options, each over what came before."""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rcnn.config import Config
from rcnn.errors import ConfigError
from rcnn.presets import PRESETS
from rcnn.presets.yaml import parse, read

OPTIONS = {
    **{f"training.{name}": f"--{name}" for name in ("epochs", "batch", "lr", "precision", "seed", "workers", "scheme")},
    **dict.fromkeys(("input.short", "input.long"), "--size"),
}
"""What the command line calls these settings."""

_ITERATIONS = {
    "training.epochs": ("training.iterations", "training.rpn_iterations"),
    "training.rpn_epochs": ("training.rpn_iterations",),
}
"""What would win over the epochs of all stages, and over those of the RPN's stages."""
_MAPPINGS = ("class_weights",)
"""How the names of those settings end whose value is a mapping of names."""


def preset(name: str) -> Config:
    """The configuration of that name; raises ConfigError for a name that is none."""
    if name not in PRESETS:
        longer = ", ".join(other for other in PRESETS if other.startswith(name))
        meant = f" (did you mean {longer}?)" if longer else _did_you_mean(name, PRESETS)
        raise ConfigError(f"no preset {name!r}{meant}; 'rcnn presets' lists them")
    return PRESETS[name]()


def override(
    config: Config,
    file: Path | None,
    sets: Sequence[str],
    options: Mapping[str, object],
    names: Mapping[str, str] | None = None,
) -> Config:
    """`config` with the settings of a YAML `file`, then of `sets` ("key=value"), then of `options`.

    A file is a nested mapping, whole or in part. A key of `sets` and `options` is dotted (`training.lr`) or as much
    of its end as tells it apart (`lr`); an option that is None was not given. `names` says what the user calls the
    options that set a key (see OPTIONS), for messages. Raises ConfigError for a key that is unknown or stands for
    several settings, and for a value of a wrong type or out of range.

    Epochs take the place of iterations that were given before, which would win over them.
    """
    settings = flat(config.model_dump(mode="json"))
    sources: dict[str, str] = {}
    for level in _changes(settings, file, sets, options, names or {}):
        changes = {change.key: change for change in level}
        for length in _ITERATIONS.keys() & changes.keys():
            settings |= {key: 0 for key in _ITERATIONS[length] if key not in changes}
        settings |= {key: change.value for key, change in changes.items()}
        sources |= {key: change.source for key, change in changes.items()}
    try:
        # JSON's strict rules are YAML's: a list is a tuple, 1 is a float, but true is no number and "4" neither.
        return Config.model_validate_json(json.dumps(_nested(settings), default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(_problems(error, sources)) from error


@dataclass(frozen=True)
class _Change:
    key: str
    value: object
    source: str
    """What the user wrote, to begin a message with; empty for an option without a name."""


def _changes(
    known: Mapping[str, object],
    file: Path | None,
    sets: Sequence[str],
    options: Mapping[str, object],
    names: Mapping[str, str],
) -> Iterator[list[_Change]]:
    """Those of the file, then those of `sets`, then those of the options."""
    yield [] if file is None else list(_file_changes(known, file))
    yield [change for text in sets for change in _set_changes(known, text)]
    given = {key: value for key, value in options.items() if value is not None}
    yield [_Change(_resolve(key, known), value, names.get(key, "")) for key, value in given.items()]


def _file_changes(known: Mapping[str, object], file: Path) -> Iterator[_Change]:
    content = read(file)
    if not isinstance(content, Mapping | None):
        raise ConfigError(f"{file}: not a mapping of settings; 'rcnn config PRESET' prints one")
    for key, value in flat(content or {}).items():
        if value is None and _in_group(key, known):
            continue  # a group whose lines are all commented out
        if key not in known:  # a file lives longer than a command: a short name could become ambiguous
            raise _unknown(key, known, f"{file}: ")
        yield _Change(key, value, str(file))


def _set_changes(known: Mapping[str, object], text: str) -> Iterator[_Change]:
    source = f"--set {text}"
    key, equals, value = text.partition("=")
    if not (key.strip() and equals):
        raise ConfigError(f"{source}: not KEY=VALUE; write it like --set training.lr=0.01")
    for full, item in flat({key.strip(): parse(value, source)}).items():
        yield _Change(_resolve(full, known, f"{source}: "), item, source)


def _resolve(key: str, known: Mapping[str, object], prefix: str = "") -> str:
    """The full name of a setting from it or from its end."""
    matches = [key] if key in known else [name for name in known if name.endswith(f".{key}")]
    if len(matches) > 1:
        raise ConfigError(f"{prefix}{key} stands for several settings; write one of {', '.join(matches)}")
    if not matches:
        raise _unknown(key, known, prefix)
    return matches[0]


def _unknown(key: str, known: Mapping[str, object], prefix: str) -> ConfigError:
    group = _in_group(key, known)
    if group:
        return ConfigError(f"{prefix}{key} is a group of settings; set one of them, such as {group[0]}")
    return ConfigError(f"{prefix}no setting {key}{_did_you_mean(key, known)}; 'rcnn config PRESET' lists them")


def _in_group(key: str, known: Iterable[str]) -> list[str]:
    return [name for name in known if f".{key}." in f".{name}"]


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    """The nearest name, by the whole of it and by its last part: `lrr` and `train.lr` both mean `training.lr`."""

    def likeness(other: str) -> tuple[float, float]:
        pairs = ((name, other), (name.rpartition(".")[2], other.rpartition(".")[2]))
        whole, last = (difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)
        return max(whole, last), whole

    nearest = max(names, key=likeness)
    return f" (did you mean {nearest}?)" if likeness(nearest)[0] > 0.6 else ""


def _problems(error: ValidationError, sources: Mapping[str, str]) -> str:
    """One line for all that is wrong, each setting once, and once for an option that stands for several."""
    problems: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        key = _key(detail["loc"])
        source = f"{sources[key]}: " if sources.get(key) else ""
        place = sources[key] if sources.get(key) in OPTIONS.values() else key
        problems.setdefault(place, f"{source}{key}: {_problem(detail)}")
    return "; ".join(problems.values())


def _key(place: Sequence[int | str]) -> str:
    """The name of the setting in which something is wrong."""
    key = ".".join(part for part in place if isinstance(part, str))
    mapping = next((name for name in _MAPPINGS if f".{name}." in key), None)
    return key if mapping is None else key.partition(f".{mapping}.")[0] + f".{mapping}"


def _problem(detail: ErrorDetails) -> str:
    """Pydantic's message in the words of a YAML file."""
    if detail["type"] in ("missing", "too_long"):
        return "too few items" if detail["type"] == "missing" else "too many items"
    if detail["type"] == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    wanted = detail["msg"].removeprefix("Input ").replace("valid array", "list").replace("an object", "a mapping")
    given = detail["input"]
    return wanted if isinstance(given, list | dict) else f"{wanted}, not {json.dumps(given)}"


def flat(tree: Mapping[Any, object], prefix: str = "") -> dict[str, object]:
    """A nested mapping as one level with dotted keys; a setting that is a mapping itself stays whole."""
    rows: dict[str, object] = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        nested = isinstance(value, Mapping) and not key.endswith(_MAPPINGS)
        rows |= flat(value, f"{key}.") if nested else {key: value}  # type: ignore[arg-type]
    return rows


def _nested(rows: Mapping[str, object]) -> dict[str, Any]:
    """The inverse of `flat`."""
    tree: dict[str, Any] = {}
    for key, value in rows.items():
        *groups, name = key.split(".")
        group = tree
        for part in groups:
            group = group.setdefault(part, {})
        group[name] = value
    return tree
