"""`rcnn check`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from rcnn import api
from rcnn.api.checking import Checked, fixing
from rcnn.api.checking import check as look
from rcnn.cli import options as o
from rcnn.cli.check_tables import show_anchors, show_findings, show_fixed, show_summary
from rcnn.cli.train import size_options
from rcnn.config import Config
from rcnn.errors import ConfigError
from rcnn.presets.overrides import OPTIONS, override, preset
from rcnn.report.words import counted
from rcnn.runs import write_text

LINES = 5
"""Of a kind of findings, and classes in a table, unless all are asked for."""

_console = Console(highlight=False, markup=False, emoji=False)  # class names may hold brackets and colons


def check(
    data: o.DataArgument,
    split: Annotated[str | None, typer.Option(help="Look at this part alone; leaks are then hardly seen.")] = None,
    preset_name: o.PresetName = None,
    run: Annotated[Path | None, typer.Option(metavar="RUN", help="Take sizes and anchors from this run.")] = None,
    size: o.Size = None,
    sets: o.Sets = None,
    config_file: o.ConfigFile = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything here.")] = None,
    fix: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write a repaired copy and repairs.json here.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a repaired copy.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Let warnings fail too.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Print every finding and every class.")] = False,
    data_format: o.DataFormat = None,
) -> int:
    """Look for what is wrong in a data set, and say what it holds and what anchors can reach.

    The exit status is 1 where training would refuse the data, unless --fix has written a copy that it takes. The data
    itself is never changed.
    """
    if fix and split:
        raise ConfigError("--fix and --split: a copy is of the whole data; leave --split out")
    config = chosen_config(run, preset_name, config_file, sets or (), size)
    checked = looked_at(data, data_format, split, config)
    show(checked, str(run or preset_name or api.DEFAULT_PRESET), None if every else LINES)
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        write_text(json_file, json.dumps(checked.to_json(), indent=1, ensure_ascii=False) + "\n")
    if fix:
        show_fixed(_console, fixing.fix(checked, fix, data_format, overwrite), LINES)
    errors = [] if fix else checked.errors
    return int(bool(errors or (strict and checked.findings)))


def chosen_config(
    run: Path | None, preset_name: str | None, config_file: Path | None, sets: Sequence[str], size: int | None
) -> Config:
    """The settings whose channels, scale and anchors are looked at."""
    if run and preset_name:
        raise ConfigError("--run and --preset: give one of them")
    base = api.stored_config(run) if run else preset(preset_name or api.DEFAULT_PRESET)
    return override(base, config_file, sets, size_options(size), OPTIONS)


def looked_at(data: Path, data_format: o.DataFormat, split: str | None, config: Config) -> Checked:
    """The check, with a bar on a terminal."""
    with Progress(console=_console, transient=True, disable=not _console.is_terminal) as bar:
        task = bar.add_task("looking at pictures", total=None)
        return look(
            data,
            data_format,
            split,
            config,
            on_read=lambda pictures: bar.update(task, total=pictures),
            on_picture=lambda: bar.advance(task),
        )


def show(checked: Checked, name: str, lines: int | None) -> None:
    """Findings, then what the data holds, then what anchors reach."""
    whole, splits = checked.summary.whole, checked.summary.splits
    classes = counted(len(whole.classes), "class", "classes")
    head = f"{checked.data}: {counted(whole.pictures, 'picture')}, {counted(whole.boxes, 'box', 'boxes')}, {classes}"
    _console.print(head, soft_wrap=True, style="bold")
    if checked.summary.drawn:
        _console.print(f"no splits of its own: {', '.join(splits)} are drawn by chance", soft_wrap=True)
    show_findings(_console, checked.findings, lines)
    show_summary(_console, checked.summary, lines and 4 * lines)
    if checked.anchors:
        show_anchors(_console, checked.anchors, name, lines and 4 * lines)
