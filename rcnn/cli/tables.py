"""Tables that fit the terminal: no word and no number is cut, and what does not fit beside the rest stands below it."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

GAP = 2
"""Spaces between columns."""


def show_table(
    console: Console,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None = None,
    italic: Collection[int] = (),
    right: bool = False,
) -> None:
    """Print rows under their heads, without the columns in which nothing stands.

    The first column is never left out, and is repeated where the table goes on below. The columns whose places are in
    `italic` are printed so; all but the first stand on the `right` if asked. `width` is the terminal's unless given.
    """
    room = width or console.width
    filled = [n for n in range(len(heads)) if n == 0 or any(row[n] not in ("-", "") for row in rows)]
    cells = {n: max((cell_len(row[n]) for row in rows), default=0) for n in filled}
    least = {n: max(cells[n], *map(cell_len, heads[n].split() or [""])) for n in filled}
    whole = {n: max(cells[n], cell_len(heads[n])) for n in filled}
    for part in parts(least, room):
        widths = whole if _together(whole[n] for n in part) <= room else least
        table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
        for n in part:
            style, side = "italic dim" if n in italic else None, "right" if right and n else "left"
            table.add_column(heads[n], style=style, justify=side, vertical="bottom", width=widths[n])  # type: ignore[arg-type]
        for row in rows:
            table.add_row(*(row[n] for n in part))
        needed = max(room, _together(widths[n] for n in part))
        _at_least(console, needed).print(table, width=needed, crop=False)


def _at_least(console: Console, width: int) -> Console:
    """The console, or one on the same file that is wide enough: rich prints nothing wider than a console is."""
    if width <= console.width:
        return console
    return Console(file=console.file, width=width, highlight=False, markup=False, emoji=False)


def parts(widths: Mapping[int, int], room: int) -> list[list[int]]:
    """Columns by name, cut into tables that fit; each begins with the first column."""
    first, *others = widths
    tables = [[first]]
    for column in others:
        if len(tables[-1]) > 1 and _together(widths[n] for n in (*tables[-1], column)) > room:
            tables.append([first])
        tables[-1].append(column)
    return tables


def flowed(words: Iterable[str], room: int) -> list[str]:
    """Lines of words two spaces apart; a word, which may hold spaces, is never broken."""
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]}{' ' * GAP}{word}" if lines else word
        if lines and cell_len(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _together(widths: Iterable[int]) -> int:
    """Of columns side by side."""
    known = list(widths)
    return sum(known) + GAP * (len(known) - 1)
