"""What was measured, as JSON and as a section of a page that holds one section a machine."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rcnn.bench.harness import Row
from rcnn.bench.machine import Machine
from rcnn.report.words import counted
from rcnn.runs import write_text

HEADS = ("case", "way", "median, ms", "least - most", "times as fast", "least - most", "wanted", "MiB", "agreement")


@dataclass(frozen=True)
class Result:
    """A part of the benchmark on one machine; `command` is what makes it again."""

    part: str
    command: str
    machine: Machine
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    """What the rows together say."""
    against: str = "torchvision"

    @property
    def title(self) -> str:
        """Of its section."""
        other = "" if self.against == "torchvision" else f" against {self.against}"
        return f"rcnn bench {self.part}{other}, {counted(self.machine.threads, 'thread')}"


def write_json(path: Path, results: Sequence[Result]) -> None:
    """All numbers."""
    write_text(path, json.dumps({"format_version": 1, "results": [asdict(one) for one in results]}, indent=1) + "\n")


def cells(row: Row) -> tuple[str, ...]:
    """A row as it is shown, under HEADS."""
    facts = "".join(f", {value:,g} {name}" for name, value in row.facts.items())
    return (
        row.case + facts,
        row.way,
        f"{1000 * row.median:,.1f}",
        f"{1000 * row.least:,.1f} - {1000 * row.most:,.1f}",
        f"{row.ratio:.2f}",
        f"{row.ratio_least:.2f} - {row.ratio_most:.2f}",
        _wanted(row),
        "" if row.memory is None else f"{row.memory:,.0f}",
        row.agreement,
    )


def _wanted(row: Row) -> str:
    times = [f"{row.wanted:.3g}"] if row.wanted is not None else []
    goals = ", ".join(times + ([f"{1000 * row.within:g} ms"] if row.within is not None else []))
    return f"{goals}{'' if row.reached else ' (missed)'}"


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown; what a case's ways share is said once."""
    lines = [_line(HEADS), _line(["---"] * len(HEADS))]
    before = ""
    for row in rows:
        case, *middle, agreement = cells(row)
        again = case == before
        lines.append(_line(("", *middle, "") if again else (case, *middle, agreement)))
        before = case
    return "\n".join(lines)


def record(page: Path, result: Result) -> None:
    """Put a result into its machine's section of a page, in the place of an older one of the same part."""
    text = page.read_text("utf-8") if page.is_file() else "# Measured\n"
    machine, part = f"## {result.machine.title}", f"### {result.title}"
    about = f"`{result.command}`, commit {result.machine.commit}."
    body = "\n\n".join((about, table(result.rows), *result.notes))
    write_text(page, _with(text, machine, part, body))


def _with(page: str, machine: str, part: str, body: str) -> str:
    """The page with one part's body replaced or added, all else as it was."""
    sections = _split(page, "## ")
    own = _split(sections.get(machine, f"{machine}\n"), "### ")
    own[part] = f"{part}\n\n{body}\n"
    sections[machine] = _joined(own)
    return _joined(sections)


def _split(text: str, mark: str) -> dict[str, str]:
    """Pieces of a page by the headings that they begin with; what comes before the first heading by none."""
    pieces: dict[str, str] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith(mark):
            heading = line.rstrip()
        pieces[heading] = f"{pieces[heading]}\n{line}" if heading in pieces else line
    return pieces


def _joined(pieces: Mapping[str, str]) -> str:
    return "\n\n".join(piece.strip() for piece in pieces.values()) + "\n"


def _line(words: Sequence[str]) -> str:
    return f"| {' | '.join(words)} |"
