"""`rcnn check`."""

from pathlib import Path
from typing import Annotated

import typer

from rcnn.cli import options as o
from rcnn.cli.settings import looked_at_with
from rcnn.errors import ConfigError
from rcnn.paths import refuse_missing_data
from rcnn.presets import DEFAULT_PRESET


def check(
    data: o.DataArgument,
    split: Annotated[str | None, typer.Option(help="Look at this part alone; leaks are then hardly seen.")] = None,
    preset_name: o.PresetName = None,
    run: Annotated[Path | None, typer.Option(metavar="RUN", help="Take sizes and anchors from this run.")] = None,
    size: o.Size = None,
    sets: o.Sets = None,
    config_file: o.ConfigFile = None,
    json_file: o.NumbersFile = None,
    fix: Annotated[
        Path | None,
        typer.Option(metavar="OUT", callback=o.writable_folder, help="Write a repaired copy and repairs.json here."),
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
    config = looked_at_with(run, preset_name, config_file, sets or (), size)
    refuse_missing_data(data)
    from rcnn.cli.check import LINES, looked_at, repair, show, write

    checked = looked_at(data, data_format, split, config)
    show(checked, str(run or preset_name or DEFAULT_PRESET), None if every else LINES)
    if json_file:
        write(checked, json_file)
    if fix:
        repair(checked, fix, data_format, overwrite)
    errors = [] if fix else checked.errors
    return int(bool(errors or (strict and checked.findings)))
