"""A comparison from its first piece, or from where it stopped, to its page."""

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from rcnn.api.compare.bench import PROPOSALS, Bench
from rcnn.api.compare.methods import method_sections
from rcnn.api.compare.pieces import Piece, in_order, method_pieces
from rcnn.api.compare.plan import NAMES, Plan
from rcnn.api.compare.record import AnyResult, Machine, Record, new_record, read_record, resumed_record, this_machine
from rcnn.api.compare.studies import STUDIES
from rcnn.api.compare.study import Study
from rcnn.errors import ConfigError
from rcnn.report.compare import Section, write_page
from rcnn.report.words import counted
from rcnn.runs import RunFolder
from rcnn.training.journal import Journal
from rcnn.training.session import Listener, choose_device

RECORD, PAGE = "compare.json", "compare.html"


@runtime_checkable
class Watcher(Protocol):
    """Who wants to know how a comparison goes."""

    def began(self, piece: str, number: int, pieces: int) -> None:
        """Before a piece; pieces are counted from 1."""

    def ended(self, piece: str, result: AnyResult) -> None:
        """After it."""

    def training(self, folder: RunFolder) -> AbstractContextManager[Listener]:
        """Who hears of a run's training."""


class Quiet:
    """A watcher that leaves training to the log."""

    def began(self, piece: str, number: int, pieces: int) -> None:
        """Nothing."""

    def ended(self, piece: str, result: AnyResult) -> None:
        """Nothing."""

    @contextmanager
    def training(self, folder: RunFolder) -> Iterator[Listener]:
        """The run's own journal."""
        yield Journal(folder.events)


def compare(
    plan: Plan, watcher: Watcher | None = None, resume: bool = False, overwrite: bool = False
) -> tuple[Record, list[Section]]:
    """Make all pieces of a plan that are not finished, and the page; what is found stands in the plan's folder.

    With `resume` a comparison of the same settings goes on; methods and studies may join it. Raises ConfigError,
    DataError or WeightsError for what is wrong, before anything is trained, and KeyboardInterrupt, with the state
    saved, after Ctrl-C.
    """
    watcher = watcher or Quiet()
    studies = chosen_studies(plan)
    pieces = in_order([*method_pieces(plan), *(piece for study in studies for piece in study.pieces(plan))])
    record = _begin(plan, resume, overwrite)
    bench = Bench(plan, watcher.training)
    bench.check()
    if overwrite:
        _clear(plan, [piece.run for piece in pieces if piece.run])
    plan.out.mkdir(parents=True, exist_ok=True)
    record.write(plan.out / RECORD)
    for number, piece in enumerate(pieces, start=1):
        if piece.name not in record.pieces:
            watcher.began(piece.name, number, len(pieces))
            record = _with_run(record, piece, plan)
            result = piece.make(bench)
            record = record.model_copy(update={"pieces": record.pieces | {piece.name: result}})
            record.write(plan.out / RECORD)
            watcher.ended(piece.name, result)
    return _finish(plan, record, studies)


def _with_run(record: Record, piece: Piece, plan: Plan) -> Record:
    """The record, which names each run of its own before it is begun."""
    if piece.run is None or piece.run in (*record.begun, *plan.asked.given):
        return record
    named = record.model_copy(update={"begun": [*record.begun, piece.run]})
    named.write(plan.out / RECORD)
    return named


def chosen_studies(plan: Plan) -> list[Study]:
    """The studies that were asked for; raises ConfigError for one whose methods are not compared."""
    for name in plan.asked.studies:
        if name not in STUDIES:
            raise ConfigError(f"--{name}: no such study; choose from {', '.join(STUDIES)}")
        study = STUDIES[name]
        if not study.suits(plan.methods):
            wanted = (" and " if study.every else " or ").join(study.methods)
            raise ConfigError(f"{study.option}: studies {wanted}; add to --methods")
    return [study for name, study in STUDIES.items() if name in plan.asked.studies]


def _begin(plan: Plan, resume: bool, overwrite: bool) -> Record:
    """What was found before, or a new record; raises ConfigError where the folder may not be written."""
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite: give one of them")
    device = choose_device(plan.asked.device)
    if not resume:
        RunFolder(plan.out).refuse_existing(overwrite)
        return new_record(plan.settings, device)
    return resumed_record(read_record(plan.out / RECORD), plan.settings, this_machine(device))


def _clear(plan: Plan, planned: Collection[str]) -> None:
    """Remove what a comparison before this one wrote, and runs of the names that are planned.

    Anything else in the folder is somebody's.
    """
    begun = read_record(plan.out / RECORD).begun if (plan.out / RECORD).is_file() else []
    for name in {*begun, *planned}:
        if name not in plan.asked.given and (plan.out / name).exists():
            RunFolder(plan.out / name).create(overwrite=True)
    for file in (RECORD, PAGE, PROPOSALS):
        (plan.out / file).unlink(missing_ok=True)


def _finish(plan: Plan, record: Record, studies: list[Study]) -> tuple[Record, list[Section]]:
    sections = [*method_sections(plan, record), *(study.section(plan, record) for study in studies)]
    record = record.model_copy(update={"tables": [section.to_json() for section in sections]})
    record.write(plan.out / RECORD)
    names = ", ".join(NAMES[method] for method in plan.methods)
    write_page(plan.out / PAGE, f"{names} on {Path(record.settings.data).name}", _facts(record), sections)
    return record, sections


def _machine(machine: Machine) -> str:
    return f"{machine.processor}, {counted(machine.threads, 'thread')}, {machine.device}, {machine.system}"


def _facts(record: Record) -> dict[str, str]:
    """How the numbers came about, for the end of the page."""
    settings, machine = record.settings, record.machine
    seeds = {str(config["training"]["seed"]) for config in settings.configs.values()}
    return {
        "data": f"{settings.data}, measured on split {settings.split}",
        "backbone": f"{settings.backbone}, weights: {settings.backbone_weights or 'as published, on ImageNet'}",
        "proposals": record.searched.method if record.searched else "the network's own",
        "machine": "; then ".join(map(_machine, (machine, *record.other_machines))),
        "versions": f"rcnn {record.rcnn}, torch {machine.torch}, Python {machine.python}",
        "precision": settings.precision or "as each method's settings say in training, fp32 in measuring",
        "seed": ", ".join(sorted(seeds)),
        "times": f"median of at most {counted(settings.timed, 'picture')}, each alone and measured up to "
        f"{counted(settings.repeats, 'time')}",
        "runs": ", ".join(name.removeprefix("train ") for name in record.pieces if name.startswith("train ")),
    }
