"""How far a command is: seen on a terminal and told elsewhere, without disturbing what it answers."""

import io

from rich.console import Console

from rcnn.cli import counting as module
from rcnn.cli.counting import counting


def test_without_a_terminal_a_line_tells_now_and_then_on_the_error_stream(monkeypatch, capsys):
    now = iter(range(0, 1000, 8))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    with counting(7, "detecting", Console(file=io.StringIO())) as done:
        for _ in range(7):
            done()
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.splitlines()
    assert 1 <= len(lines) <= 3
    assert all(line.startswith("detecting: ") and line.endswith(" of 7 pictures") for line in lines)


def test_quick_work_says_nothing(capsys):
    with counting(3, "detecting", Console(file=io.StringIO())) as done:
        for _ in range(3):
            done()
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar():
    screen = io.StringIO()
    with counting(2, "detecting", Console(file=screen, force_terminal=True, width=80)) as done:
        done()
        done()
    assert "detecting" in screen.getvalue()
    assert "100%" in screen.getvalue()
