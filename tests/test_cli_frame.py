import logging
import os
import signal
import subprocess
import sys
import time
from inspect import signature

import pytest
import typer

from rcnn.api import loading
from rcnn.cli import frame, main
from rcnn.cli.commands.evaluate import evaluate
from rcnn.config import Config
from rcnn.errors import DataError, TrainingError
from rcnn.evaluation.interval import RESAMPLES
from rcnn.paths import refuse_unwritable
from rcnn.presets import PRESETS, sources
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
        "print('loaded:', *{'torch', 'numpy', 'pydantic', 'rcnn.cli.commands'} & set(sys.modules)); sys.exit(status)"
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


def test_no_command_needs_torch_to_show_its_help():
    """In one process: what a first command imports, all others have."""
    result = in_a_process(
        "import sys; from rcnn.cli import frame, main\n"
        "statuses = {main([name, '--help']) for name in frame.COMMANDS}\n"
        "print('loaded:', *{'torch', 'torchvision', 'numba', 'scipy', 'matplotlib'} & set(sys.modules))\n"
        "sys.exit(max(statuses))"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("loaded:\n")


KNOWN_AT_ONCE = {
    "train nowhere": "nowhere: no such file or folder",
    "train nowhere --preset demmo": "did you mean demo?",
    "train . --out .": ".: exists; pass --resume",
    "train . --out new --set model.backbone=vgg61": "model.backbone",
    "train . --out new --proposals gone": "gone: no such file; make it with rcnn propose",
    "train . --out new --backbone-weights gone": "gone: no such file; pass a .pth or .safetensors",
    "train . --out new --from gone": "gone: no such run",
    "train . --out new --from model.onnx": "model.onnx: an exported file only detects",
    "train . --resume --out gone": "gone/last.safetensors: no such file",
    "look nowhere --out a.png": "nowhere: no such file or folder",
    "look . --out a.gif": "give the name of a picture",
    "check nowhere": "nowhere: no such file or folder",
    "check . --run gone": "gone/last.safetensors: no such file",
    "evaluate gone .": "gone: no such run",
    "evaluate gone . --weights newest": "give best or last",
    "evaluate nowhere --predictions a.png": "nowhere: no such file or folder",
    "evaluate . --predictions gone.json": "gone.json: no such file",
    "evaluate torchvision:some . --against gone": "gone: no such run",
    "evaluate torchvision:some . --threshold-for f1=1": "give precision=P or recall=R",
    "report gone": "gone/model.safetensors: no such file",
    "predict gone b.png --out new": "no picture there",
    "predict gone a.png --out new": "gone: no such run",
    "predict gone a.png --out new --tile 99 --flip": "leave --flip and --sizes out",
    "serve gone": "gone: no such run",
    "serve gone.onnx": "gone.onnx: no such file",
    "compare nowhere --out new": "nowhere: no such file or folder",
    "compare . --out new --methods rcnnn": "--methods rcnnn: no such method",
    "compress gone --out new --svd fc6=1": "gone: no such run",
    "compress gone --out new --svd fc6": "not LAYER=RANK",
    "compress gone --out new --sweep .": "gone: no such run; give the folder of one",
    "convert gone --out new.pth": "gone: no such run",
    "convert gone --to run --out new": "gone: no model of another library",
    "convert model.onnx --out new.pth": "model.onnx: an exported file only detects",
    "export gone": "gone: no such run",
    "export gone --out new.xml": "--out new.xml: files of --format onnx end in .onnx",
    "export gone --out nowhere/new.onnx": "there is no folder nowhere",
    "export gone --format tflite": "--format tflite: choose onnx, openvino, torch",
    "export gone --input float": "--input float: give uint8 or normalised",
    "export gone --input normalised --with-resize": "leave --input normalised out",
    "export gone --batch 0": "--batch 0: give dynamic, or a number from 1",
    "export gone --half --bf16": "--half, --bf16 and --int8: give one of them",
    "export gone --bf16": "no convolution in bf16",
    "export gone --format torch --half": "--format torch: has no fp16",
    "export gone --eval .": "pass --int8 DATA too",
    "export gone --batch 2 --with-resize": "--with-resize: takes one picture at a time",
    "export gone --pictures b.png": "no picture there",
    "export model.onnx": "model.onnx: an exported file only detects",
    "export torchvision:some --int8 nowhere": "nowhere: no such file or folder",
    "convert-data nowhere --to voc --out new": "nowhere: no such file or folder",
    "propose . --run gone --out new": "gone: no such run",
    "propose . --recall gone --out new.png": "gone: no such file; make it with rcnn propose",
    "propose . --recall gone.json --out new.png": "gone.json: no such file; give COCO results that exist",
    "propose . --method rpn --out new": "pass --run RUN",
    "pretrain nowhere": "nowhere: no such folder",
    "pretrain . --backbone vgg61": "--backbone vgg61",
    "reproduce some": "some",
    "reproduce fast-rcnn-vgg16-07 --voc nowhere": "nowhere: no such file or folder",
    "bench opps": "opps: no part of the benchmark",
}


def test_what_can_be_known_without_torch_is_told_without_it(tmp_path):
    """In one process, for the same reason; in a folder that holds a picture and nothing else."""
    (tmp_path / "a.png").touch()
    lines = list(KNOWN_AT_ONCE)
    result = in_a_process(
        f"import os, sys; from rcnn.cli import main; os.chdir({str(tmp_path)!r})\n"
        f"statuses = [main(line.split()) for line in {lines!r}]\n"
        "print(statuses, 'torch' in sys.modules)"
    )
    assert result.stdout == f"{[2] * len(lines)} False\n", result.stdout + result.stderr
    for line, told in zip(lines, result.stderr.splitlines(), strict=True):
        assert KNOWN_AT_ONCE[line] in told, line
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_usage_names_arguments_as_they_are_written(capsys):
    wanted = {"train": "DATA", "report": "RUN [DATA]", "evaluate": "[RUN] DATA", "predict": "RUN PICTURES..."}
    for name, arguments in wanted.items():
        assert main([name, "--help"]) == 0
        assert f"Usage: rcnn {name} [OPTIONS] {arguments} " in capsys.readouterr().out


def test_names_and_defaults_that_stand_apart_from_torch_are_those_that_need_it():
    assert set(loading._LOADERS) == set(sources.OTHERS)
    assert signature(evaluate).parameters["resamples"].default == RESAMPLES


def test_an_export_of_a_run_that_is_not_there_says_so_before_it_looks_at_the_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").touch()
    assert main(["export", "nothing"]) == 2
    assert capsys.readouterr().err.startswith("rcnn: nothing: no such run; pass the folder")


WRITTEN = {
    "bench ops --json FILE",
    "bench ops --results FILE",
    "check DATA --json FILE",
    "check DATA --fix FILE",
    "compare DATA --out FILE",
    "compress RUN --out FILE",
    "convert RUN --out FILE",
    "convert-data DATA --to yolo --out FILE",
    "demo --out FILE",
    "evaluate RUN DATA --json FILE",
    "evaluate RUN DATA --save-predictions FILE",
    "export RUN --out FILE",
    "look DATA --out FILE",
    "predict RUN PICTURES --out FILE",
    "predict RUN PICTURES --json FILE",
    "pretrain DATA --out FILE",
    "propose DATA --out FILE",
    "report RUN DATA --out FILE",
    "reproduce ROW --out FILE",
    "train DATA --out FILE",
}


@pytest.mark.parametrize("words", sorted(WRITTEN))
def test_a_place_that_cannot_be_written_is_refused_before_anything_else(words, monkeypatch, tmp_path, capsys):
    def refusing(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("rcnn.paths.TemporaryDirectory", refusing)
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    option = next(word for word in words.split() if word.startswith("--") and word != "--to")
    said = f"rcnn: {option} FILE: cannot be written (Permission denied); give another place\n"
    assert capsys.readouterr().err == said


def test_a_place_that_no_option_names_is_bad_input_too(command, capsys):
    def refused():
        raise PermissionError(13, "Permission denied", "runs/raccoon")

    command(refused)
    assert main(["try"]) == 2
    assert capsys.readouterr().err == (
        "rcnn: runs/raccoon: Permission denied; give another place, or mend its permissions\n"
    )


@pytest.mark.parametrize(("option", "reason"), [("--out", "a file, or inside of one"), ("--json", "inside of a file")])
def test_a_place_inside_of_a_file_is_refused_before_anything_else(option, reason, tmp_path, capsys):
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "x"
    assert main(["predict", "RUN", "PICTURES", option, str(place)]) == 2
    assert capsys.readouterr().err == f"rcnn: {option} {place}: cannot be written ({reason}); give another place\n"


def test_trying_a_place_leaves_nothing_there(tmp_path):
    for place in (tmp_path, tmp_path / "new" / "run", tmp_path / "page.html"):
        refuse_unwritable("--out", place)
    assert list(tmp_path.iterdir()) == []
