"""What all commands share: the table of them, one-line errors, exit statuses, logging."""

import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from rcnn.errors import DisagreementError, RcnnError, TrainingError

OK, FAILURE, BAD_USE = 0, 1, 2


class Entry(NamedTuple):
    """A command: where its function is, and its line in the list of commands."""

    function: str
    help: str


HERE = "rcnn.cli.commands"
COMMANDS = {
    "demo": Entry(f"{HERE}.demo:demo", "Train and evaluate a small detector on made-up pictures."),
    "look": Entry(f"{HERE}.look:look", "Draw what training sees of a data set."),
    "check": Entry(f"{HERE}.check:check", "Find what is wrong in a data set, before training."),
    "train": Entry(f"{HERE}.train:train", "Train a detector on a data set."),
    "evaluate": Entry(f"{HERE}.evaluate:evaluate", "Measure a trained detector on a data set."),
    "report": Entry(f"{HERE}.report:report", "Write a run's page: how good, what to do next, with pictures."),
    "predict": Entry(f"{HERE}.predict:predict", "Find the objects in pictures."),
    "serve": Entry(f"{HERE}.serve:serve", "Answer pictures over HTTP, with a page to try it."),
    "compare": Entry(
        "rcnn.cli.commands.compare:compare", "Train and measure the methods side by side, beside the papers."
    ),
    "compress": Entry(f"{HERE}.compress:compress", "Make a run smaller by truncated SVD."),
    "export": Entry(f"{HERE}.export:export", "Write a detector for ONNX Runtime, OpenVINO or torch."),
    "convert": Entry(f"{HERE}.convert:convert", "Write a run's weights for torchvision."),
    "convert-data": Entry(
        "rcnn.cli.commands.convert_data:convert_data", "Write a data set, or predictions, in another format."
    ),
    "propose": Entry(f"{HERE}.propose:propose", "Make proposals for a data set, or plot what they cover."),
    "pretrain": Entry(
        "rcnn.cli.commands.pretrain:pretrain", "Train a backbone as a classifier, for --backbone-weights."
    ),
    "reproduce": Entry(
        "rcnn.cli.commands.reproduce:reproduce", "Train and measure a row of a paper's table on your VOC."
    ),
    "bench": Entry(f"{HERE}.bench:bench", "Measure speed beside torchvision's, after checking equality."),
    "presets": Entry(f"{HERE}.presets:presets", "List the presets."),
    "config": Entry(f"{HERE}.presets:config", "Print all settings of a preset as YAML."),
}

log = logging.getLogger("rcnn")


class Command(TyperCommand):
    """A command whose usage names its arguments as they are written: DATA, [DATA], PICTURES..."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What follows the command's name."""
        arguments = (parameter for parameter in self.get_params(ctx) if parameter.param_type_name == "argument")
        return ["[OPTIONS]", *(argument.metavar or argument.name.upper() for argument in arguments)]


class LazyGroup(TyperGroup):
    """Lists the commands from the table and imports the one that is asked for, so that help need not wait for torch."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, entry in COMMANDS.items():
            self.add_command(TyperCommand(name, help=entry.help))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Put the command itself in the place of its line before it runs, shows its help or completes its options."""
        if args[0] in COMMANDS:
            self.add_command(load(args[0]))
        return super().resolve_command(ctx, args)


def load(name: str) -> Any:
    """The command of that name, made by typer from its function's signature."""
    module, _, function = COMMANDS[name].function.partition(":")
    single = typer.Typer(add_completion=False)
    single.command(name, cls=Command)(getattr(import_module(module), function))
    return typer.main.get_command(single)


app = typer.Typer(
    name="rcnn", cls=LazyGroup, add_completion=False, context_settings={"help_option_names": ["-h", "--help"]}
)


def _show_version(wanted: bool) -> bool:
    if wanted:
        try:
            print(f"rcnn {version('rcnn')}")
        except PackageNotFoundError:
            print("rcnn, not installed: a bare checkout")
        raise typer.Exit()
    return wanted


def _set_up_logging(debug: bool) -> bool:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers = [handler]  # not added: a program may call `main` more than once
    log.setLevel(logging.DEBUG if debug else logging.INFO)
    return debug


# The two options act while they are parsed: before a command's module is imported, so that --debug sees that fail.
VersionOption = Annotated[
    bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
]
DebugOption = Annotated[
    bool,
    typer.Option(
        "--debug", callback=_set_up_logging, envvar="RCNN_DEBUG", help="Show an error's traceback, and more of the log."
    ),
]


@app.callback()
def common(show_version: VersionOption = False, debug: DebugOption = False) -> None:
    """The R-CNN family of object detectors: train, evaluate, predict."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (that of the process if None is given) and return its exit status.

    A command returns None, or its own status. 2 stands for bad use or bad input, 1 for a failure, 130 for Ctrl-C and
    SIGTERM, which ends a command in the same way.
    """
    try:
        with _terminated_as_interrupted():
            return _run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has gone (`rcnn config demo | head -1`): nothing to say, and nothing left to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except Exception as error:
        log.debug("where it came from:", exc_info=True)
        message, status = _explained(error)
        print(f"rcnn: {message}", file=sys.stderr)
        return status


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """While this context lasts, SIGTERM is Ctrl-C: schedulers send it, and what Ctrl-C saves they shall not lose."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)  # None: not set by Python


def _run(arguments: Sequence[str] | None) -> int:
    if not (sys.argv[1:] if arguments is None else arguments):
        arguments = ["--help"]
    group: Any = typer.main.get_command(app)
    # None makes typer read sys.argv itself, and expand * on Windows, where the shell does not.
    status = group.main(arguments, prog_name="rcnn", standalone_mode=False)
    sys.stdout.flush()  # here, where a broken pipe can still be caught
    return status or OK


def _explained(error: Exception) -> tuple[str, int]:
    """What to tell the user, and the exit status."""
    match error:
        case typer.TyperException():
            return _bad_use(error), BAD_USE
        case RcnnError():
            return str(error), BAD_USE
        case TrainingError() | DisagreementError():
            return str(error), FAILURE
        case typer.Abort():
            return "stopped", FAILURE
        case PermissionError() if error.filename:
            return f"{error.filename}: {error.strerror}; give another place, or mend its permissions", BAD_USE
        case _:
            first_line = next(iter(str(error).strip().splitlines()), "no message")
            return f"{type(error).__name__}: {first_line} (more with: rcnn --debug COMMAND ...)", FAILURE


def _bad_use(error: Exception) -> str:
    """One line for words that the command line does not take: `--scheme foo: choose auto, 4-step`."""
    message = " ".join(str(getattr(error, "message", error)).split())
    parameter, told = getattr(error, "param", None), getattr(error.__cause__, "errors", None)
    if parameter is not None and told is not None:
        return f"{max(parameter.opts, key=len)} {told()[0]['input']}: {_wanted(message)}"
    message, context = " ".join(error.format_message().split()), getattr(error, "ctx", None)  # type: ignore[attr-defined]
    stop = "" if message.endswith((".", "?", "!")) else "."
    return f"{message}{stop} Try '{context.command_path if context else 'rcnn'} --help'."


def _wanted(message: str) -> str:
    """What a value should be, from what typer says of one that is not."""
    choices = re.fullmatch(r".*? is not one of ('.*')\.?", message)
    return f"choose {choices[1].replace(chr(39), '')}" if choices else message.removeprefix("Input ")
