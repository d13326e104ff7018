"""What a comparison found: tables and drawings that the terminal and the page share."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    form: str = "{:.1f}"
    paper: bool = False


@dataclass(frozen=True)
class Table:
    """Numbers in rows."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def texts(self) -> list[list[str]]:
        """The cells as they are shown."""
        return [[_text(c, column) for c, column in zip(row, self.columns, strict=True)] for row in self.rows]

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
    write_text(path, template.render(title=title, facts=facts, sections=sections, drawn=drawn) + "\n")


def _text(cell: Cell, column: Column) -> str:
    plain = _plain(cell)
    if plain is None:
        return "-"
    return plain if isinstance(plain, str) else column.form.format(plain)


def _plain(cell: Cell) -> Cell:
    """The cell, with nothing in the place of what is no number."""
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell
