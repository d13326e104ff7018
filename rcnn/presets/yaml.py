"""Settings as YAML: written with a comment for each, read with errors that name the place."""

import math
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rcnn.config import Config
from rcnn.errors import ConfigError

COLUMN = 36
"""Where comments begin; one that would not fit beside its setting stands above it."""
WIDTH = 110


def to_yaml(config: Config) -> str:
    """Every setting with its meaning as a comment; what `read` loads from it makes an equal Config."""
    return f"# {_sentence(type(config).__doc__)}\n" + "".join(f"{line}\n" for line in _lines(config, indent=""))


def read(path: Path) -> object:
    """The content of a YAML file; raises ConfigError for one that is missing or is not YAML."""
    try:
        text = path.read_text("utf-8-sig")  # with or without the mark that Windows' editors put first
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the name of a YAML file of settings") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file in UTF-8; give a YAML file of settings") from error
    return parse(text, str(path))


def parse(text: str, source: str) -> object:
    """The value of a YAML text; raises ConfigError that begins with `source`."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{source}{line}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{source}: not valid YAML: {_sentence(str(error))}") from error


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: 1e-3 is a number (YAML 1.1 wants 1.0e-3), and a key may stand only once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[object] = []
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key.value} is given twice", problem_mark=key.start_mark
                )
            seen.append(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _lines(section: BaseModel, indent: str) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield ""
            yield f"{indent}# {_sentence(type(value).__doc__)}"
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ")
        else:
            yield from _setting(f"{indent}{name}: {_flow(value)}", _comment(field), indent)


def _setting(line: str, comment: str, indent: str) -> Iterator[str]:
    beside = f"{line:<{COLUMN}}# {comment}"
    if not comment:
        yield line
    elif len(line) < COLUMN and len(beside) <= WIDTH:
        yield beside
    else:
        yield from textwrap.wrap(comment, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        yield line


def _comment(field: FieldInfo) -> str:
    """What a setting means, and the values it can take unless the meaning names them."""
    meaning = _sentence(field.description)
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    if len(choices) < 2 or all(choice in meaning for choice in choices):
        return meaning
    listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
    return f"{meaning} ({listed})" if meaning else listed


def _flow(value: object) -> str:
    plain = _as_lists(value)
    return yaml.safe_dump(plain, default_flow_style=True, width=math.inf).removesuffix("...\n").strip()


def _as_lists(value: object) -> object:
    return [_as_lists(item) for item in value] if isinstance(value, tuple) else value


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())
