"""What a comparison found: tables and drawings that the terminal and the page share."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rcnn.report.compare_plots import Plot, svg
from rcnn.runs import write_text

Cell = str | float | None
"""A word, a number, or nothing: not measured, or not published."""
TEMPLATE = Path(__file__).with_name("compare.html")


@dataclass(frozen=True)
class Column:
    """A column; `form` is how its numbers are written. `paper`: they are not this comparison's but published."""

    name: str
    form: str | Callable[[float], str] = "{:.1f}"
    paper: bool = False


@dataclass(frozen=True)
class Table:
    """Numbers in rows."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def texts(self) -> list[list[str]]:
        """The cells as they are shown."""
        return [[_text(c, column) for c, column in zip(row, self.columns, strict=True)] for row in self.rows]

    def filled(self) -> "Table":
        """The table without columns in which nothing stands; the first, which names the rows, is always there."""
        plain = [[_plain(cell) for cell in column] for column in zip(*self.rows, strict=True)]
        kept = [n for n, column in enumerate(plain) if n == 0 or any(cell is not None for cell in column)]
        return Table(tuple(self.columns[n] for n in kept), tuple(tuple(row[n] for n in kept) for row in self.rows))

    def to_json(self) -> dict[str, Any]:
        """The table as plain values."""
        columns = [{"name": column.name, "paper": column.paper} for column in self.columns]
        return {"columns": columns, "rows": [[_plain(cell) for cell in row] for row in self.rows]}


@dataclass(frozen=True)
class Section:
    """One question, its answer as a table, and drawings of it."""

    name: str
    title: str
    says: str
    """What the table shows and how it was measured, in sentences."""
    table: Table
    plots: tuple[Plot, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The table and its heading as plain values."""
        return {"name": self.name, "title": self.title, "says": self.says, **self.table.to_json()}


def write_page(path: Path, title: str, facts: Mapping[str, str], sections: Sequence[Section]) -> None:
    """Write all sections as one page of HTML that needs no other file, no network and no script."""
    from jinja2 import Environment

    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        TEMPLATE.read_text("utf-8")
    )
    drawn = {plot.title: svg(plot) for section in sections for plot in section.plots}
    shown = [replace(section, table=section.table.filled()) for section in sections]
    write_text(path, template.render(title=title, facts=facts, sections=shown, drawn=drawn) + "\n")


def _text(cell: Cell, column: Column) -> str:
    plain = _plain(cell)
    if plain is None:
        return "-"
    if isinstance(plain, str):
        return plain
    return column.form.format(plain) if isinstance(column.form, str) else column.form(plain)


def _plain(cell: Cell) -> Cell:
    """The cell, with nothing in the place of what is no number."""
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell
