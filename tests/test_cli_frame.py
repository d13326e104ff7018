import logging
import os
import signal
import subprocess
import sys
import time

import pytest
import typer

from rcnn.cli import frame, main
from rcnn.config import Config
from rcnn.errors import DataError, TrainingError
from rcnn.presets import PRESETS
from rcnn.presets.overrides import override

TRACEBACK = "Traceback (most recent call last)"


def in_a_process(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=False)


@pytest.fixture
def command(monkeypatch):
    """Makes a function the command `try`."""

    def register(function):
        monkeypatch.setattr(sys.modules[__name__], "attempt", function, raising=False)
        monkeypatch.setitem(frame.COMMANDS, "try", frame.Entry(f"{__name__}:attempt", "Only a test."))

    monkeypatch.delenv("RCNN_DEBUG", raising=False)
    yield register
    frame.log.handlers = []
    frame.log.setLevel(logging.NOTSET)


@pytest.fixture
def failing(command):
    """Makes the command `try` raise an error."""

    def register(error: BaseException):
        def function() -> None:
            raise error

        command(function)

    return register


def test_help_lists_all_commands_without_importing_them():
    result = in_a_process(
        "import sys; from rcnn.cli import main; status = main(['--help']);"
        "print('loaded:', *{'torch', 'numpy', 'pydantic', 'rcnn.cli.presets'} & set(sys.modules)); sys.exit(status)"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("loaded:\n")
    for name in frame.COMMANDS:
        assert f" {name} " in result.stdout


def test_no_command_at_all_shows_the_help(capsys):
    assert main([]) == 0
    assert "Usage: rcnn" in capsys.readouterr().out


def test_presets_and_settings_are_shown_without_torch():
    result = in_a_process(
        "import sys; from rcnn.cli import main; status = main(['presets']) or main(['config', 'demo']);"
        "print('torch' in sys.modules); sys.exit(status)"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("False\n")


def test_the_version_is_shown(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("rcnn")


def test_presets_are_listed_one_a_line(capsys):
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(PRESETS)
    assert "MobileNetV2 with FPN" in lines[0]


def test_printed_settings_are_a_config_file(capsys, tmp_path):
    assert main(["config", "demo", "--set", "lr=0.5", "--set", "scales=[120, 160]"]) == 0
    file = tmp_path / "mine.yaml"
    file.write_text(capsys.readouterr().out, "utf-8")
    config = override(Config(), file, [], {})
    assert (config.training.lr, config.training.scales) == (0.5, (120, 160))
    assert config.model == PRESETS["demo"]().model
    assert main(["config", "faster-rcnn-r50-fpn", "--config", str(file)]) == 0
    assert capsys.readouterr().out == file.read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["presetz"], "rcnn: No such command 'presetz'. Did you mean 'presets'? Try 'rcnn --help'.\n"),
        (["config"], "rcnn: Missing argument 'PRESET'. Try 'rcnn config --help'.\n"),
        (["config", "demo", "--sett", "a"], "--sett (Possible options: --set). Try 'rcnn config --help'.\n"),
        (["--bogus"], "rcnn: No such option: --bogus. Try 'rcnn --help'.\n"),
        (["config", "demmo"], "rcnn: no preset 'demmo' (did you mean demo?); 'rcnn presets' lists them\n"),
        (["config", "demo", "--set", "lr=-1"], "training.lr: should be greater than 0, not -1\n"),
    ],
)
def test_bad_use_is_told_in_one_line_with_status_2(arguments, message, capsys):
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert output.err.startswith("rcnn: ")
    assert output.err.endswith(message)


def test_a_command_is_made_from_its_function(command, capsys):
    def attempt(folder: str, epochs: int = 3) -> None:
        """Try something."""
        print(folder, epochs)

    command(attempt)
    assert main(["try", "data", "--epochs", "5"]) == 0
    assert capsys.readouterr().out == "data 5\n"
    assert main(["try", "--help"]) == 0
    assert "Try something." in capsys.readouterr().out
    assert main(["try", "data", "--epochs", "many"]) == 2


@pytest.mark.parametrize("status", [None, 0, 1])
def test_a_command_chooses_its_status(status, command):
    command(lambda: status)
    assert main(["try"]) == (status or 0)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (DataError("a.xml: no box"), 2, "rcnn: a.xml: no box\n"),
        (DataError("2 findings:\n  a.xml\n  b.xml"), 2, "rcnn: 2 findings:\n  a.xml\n  b.xml\n"),
        (TrainingError("loss is not finite"), 1, "rcnn: loss is not finite\n"),
        (OSError("disk\nfull"), 1, "rcnn: OSError: disk (more with: rcnn --debug COMMAND ...)\n"),
        (ValueError(), 1, "rcnn: ValueError: no message (more with: rcnn --debug COMMAND ...)\n"),
        (typer.Exit(3), 3, ""),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_becomes_one_line_and_a_status(error, status, message, failing, capsys):
    failing(error)
    assert main(["try"]) == status
    assert capsys.readouterr().err == message


def test_debug_shows_the_traceback_before_the_line(failing, capsys, monkeypatch):
    failing(DataError("a.xml: no box"))
    for arguments, environment in ((["--debug", "try"], ""), (["try"], "1")):
        monkeypatch.setenv("RCNN_DEBUG", environment)
        assert main(arguments) == 2
        errors = capsys.readouterr().err
        assert TRACEBACK in errors
        assert errors.endswith("\nrcnn: a.xml: no box\n")


def test_debug_sees_a_command_that_cannot_be_imported(command, capsys, monkeypatch):
    monkeypatch.setitem(frame.COMMANDS, "try", frame.Entry("rcnn.no_such_module:attempt", "Only a test."))
    assert main(["--debug", "try"]) == 1
    assert TRACEBACK in capsys.readouterr().err


def test_the_library_logs_plain_lines_on_stderr_once(command, capsys):
    def attempt() -> None:
        logging.getLogger("rcnn.training").info("epoch 1 of 3")
        logging.getLogger("rcnn.training").debug("unseen")

    command(attempt)
    for _ in range(2):
        assert main(["try"]) == 0
        output = capsys.readouterr()
        assert (output.out, output.err) == ("", "epoch 1 of 3\n")


def test_sigterm_ends_a_command_as_ctrl_c_does(command):
    seen = []

    def attempt() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except KeyboardInterrupt:
            seen.append("saved")
            raise

    command(attempt)
    before = signal.getsignal(signal.SIGTERM)
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as for a job that a script has put into the background
    try:
        assert main(["try"]) == 130
    finally:
        signal.signal(signal.SIGINT, interrupt)
    assert seen == ["saved"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_reader_that_leaves_is_no_error():
    writer = subprocess.Popen(
        [sys.executable, "-m", "rcnn", "config", "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    writer.stdout.close()
    errors = writer.stderr.read()
    writer.stderr.close()
    assert writer.wait() == 1
    assert errors == b""
