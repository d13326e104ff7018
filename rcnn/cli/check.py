"""What `rcnn check` does and shows."""

import json
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from rcnn.api.checking import Checked, fixing
from rcnn.api.checking import check as look
from rcnn.cli import options as o
from rcnn.cli.check_tables import show_anchors, show_findings, show_fixed, show_summary
from rcnn.config import Config
from rcnn.report.words import counted
from rcnn.runs import write_text

LINES = 5
"""Of a kind of findings, and classes in a table, unless all are asked for."""

_console = Console(highlight=False, markup=False, emoji=False)  # class names may hold brackets and colons


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


def write(checked: Checked, file: Path) -> None:
    """Everything, as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(checked.to_json(), indent=1, ensure_ascii=False) + "\n")


def repair(checked: Checked, out: Path, data_format: o.DataFormat, overwrite: bool) -> None:
    """Write the repaired copy."""
    show_fixed(_console, fixing.fix(checked, out, data_format, overwrite), LINES)
