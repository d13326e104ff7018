"""What training looks like on the screen: a plan, then bars on a terminal, plain lines elsewhere."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from rcnn import api
from rcnn.api import Prepared
from rcnn.backbones import LoadReport
from rcnn.backbones.norm import has_norms
from rcnn.build import optimizer_settings, preprocess
from rcnn.data.channel_statistics import channel_statistics
from rcnn.report.words import counted
from rcnn.training.journal import Journal
from rcnn.training.loop import Progress as EpochProgress
from rcnn.training.session import Stopped

_console = Console(highlight=False, markup=False, emoji=False)  # class names may hold brackets and colons
LINES_PER_EPOCH = 5  # where there is no terminal
WAITING = 0.1
"""From this share of an epoch spent waiting for pictures on, more workers are advised."""


class TrainingProgress(Journal):
    """Shows each step: losses, pictures per second, time to the end of the epoch, memory."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
        self.bar = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[state]}"), console=_console)
        self.task: TaskID | None = None
        self.batches = 1
        self.tells_waiting = False
        """Whether to tell, once, that a GPU waits for pictures; on a processor their preparation is work of its own."""

    def __enter__(self) -> "TrainingProgress":
        """Begin to draw."""
        if _console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *problem: object) -> None:
        """Leave the screen in order."""
        self.bar.stop()

    def epoch_started(self, epoch: int, epochs: int, batches: int) -> None:
        """A new bar."""
        self.batches = batches
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.task = self.bar.add_task(f"epoch {epoch}/{epochs}", total=batches, state="")

    def stepped(self, progress: EpochProgress, lr: float) -> None:
        """Move the bar; without a terminal, a line now and then."""
        losses = "  ".join(f"{name} {value:.3f}" for name, value in progress.losses().items())
        speed = progress.pictures / max(progress.seconds, 1e-9)
        state = f"{losses}  lr {lr:.2g}  {speed:.2f} pictures/s  {_memory()}"
        if self.task is not None:
            self.bar.update(self.task, completed=progress.batches, state=state)
        every = max(1, self.batches // LINES_PER_EPOCH)
        if not _console.is_terminal and progress.batches % every == 0:
            print(f"epoch {progress.epoch}  {progress.batches}/{self.batches}  {state}", flush=True)
        if self.tells_waiting and progress.epoch > 1 and progress.batches == self.batches:
            self._tell_waiting(progress)

    def _tell_waiting(self, progress: EpochProgress) -> None:
        """Advice, if this epoch waited long for its pictures; then no more."""
        share = progress.waited / max(progress.seconds, 1e-9)
        if share >= WAITING:
            self.tells_waiting = False
            advice = "pass more --workers (also with --resume)"
            _console.print(f"{share:.0%} of the epoch was waiting for pictures; {advice}", soft_wrap=True)


def trained(prepared: Prepared, listener: TrainingProgress) -> bool:
    """Train to the end, shown on the screen; False, with a word on how to go on, if asked to stop before."""
    listener.tells_waiting = prepared.workshop.device.type == "cuda"
    try:
        with listener:
            prepared.training.run()
    except Stopped as stopped:
        print(f"rcnn: {stopped}", file=sys.stderr)
        return False
    except KeyboardInterrupt:  # between two saves of a stage that solves or proposes, which repeats little
        print("rcnn: stopped; what is finished is saved, go on with --resume", file=sys.stderr)
        return False
    return True


def show_plan(prepared: Prepared) -> None:
    """What is about to be trained on what: data, weights, what is frozen, the rate."""
    staged, training = prepared.training, prepared.config.training
    for role, samples in (("train", prepared.workshop.train), ("val", prepared.workshop.val)):
        if samples:
            _console.print(f"{role:5}  {_summary(samples)}")
    _console.print(f"classes  {', '.join(prepared.class_names)}", soft_wrap=True)
    _show_transfer(prepared)
    _console.print(_parts(prepared))
    _show_norms(prepared)
    _show_channels(prepared)
    pictures, device = training.batch * training.accumulate, prepared.workshop.device
    scaled = training.optimizer == "sgd" and training.lr_pictures not in (0, pictures)
    whole = f" ({training.lr:g} for {counted(training.lr_pictures, 'picture')} a step)" if scaled else ""
    precision = "bf16" if api.uses_bf16(training.precision, device) else "fp32"
    _console.print(
        f"{training.optimizer}, rate {optimizer_settings(training).lr:g} for {counted(pictures, 'picture')} a step"
        f"{whole}; {precision} on {device}; run in {staged.folder.path}",
        soft_wrap=True,
    )
    if len(staged.stages) > 1:
        _console.print(f"stages  {', '.join(stage.name for stage in staged.stages)}")


def _show_channels(prepared: Prepared) -> None:
    """For pictures of other than three channels with neutral mean and deviation, what their own are."""
    settings = prepared.config.input
    if settings.channels == 3 or settings.mean != (0.5,) * settings.channels:
        return
    mean, std = channel_statistics(prepared.workshop.train, preprocess(settings), settings.max_pixels)
    own = {"mean": mean.round(4).tolist(), "std": std.clip(1e-4).round(4).tolist()}
    sets = " ".join(f"--set 'input.{name}={values}'" for name, values in own.items())
    _console.print(f"channels  mean and deviation are neutral; those of the pictures: {sets}", soft_wrap=True)


def _show_transfer(prepared: Prepared) -> None:
    """What became of each class of the run that this one begins from; the dropped ones in one line."""
    kept = [row for row in prepared.transferred if row.fate != "dropped"]
    if not kept:
        return
    table = Table("class", "head rows", box=None, pad_edge=False)
    for row in kept:
        other = f" (there: {row.before})" if row.before not in ("", row.name) else ""
        table.add_row(row.name, row.fate + other)
    _console.print(table)
    dropped = [row.name for row in prepared.transferred if row.fate == "dropped" and not row.name.startswith("unused ")]
    if dropped:
        _console.print(f"dropped  {', '.join(dropped)}", soft_wrap=True)


def _show_norms(prepared: Prepared) -> None:
    """Which norm the backbone has, and why; and which of its layers do not learn."""
    settings, body = prepared.config.model, prepared.workshop.model.backbone.body
    kinds = {"frozen": "batch norm, frozen", "group": "group norm, learning", "batch": "batch norm, learning"}
    kind = kinds[settings.norm] if has_norms(body, settings.norm) else "none to choose in this network"
    frozen = ", ".join(body.frozen) if body.frozen else "nothing"
    _console.print(
        f"norm     {kind} (model.norm={settings.norm})\n"
        f"frozen   {frozen} (model.frozen_stages={settings.frozen_stages} of {len(body.stages)})",
        soft_wrap=True,
    )


def _summary(samples: Sequence[Any]) -> str:
    objects, empty = sum(len(s.names) for s in samples), sum(not s.names for s in samples)
    counts = (counted(len(samples), "picture"), counted(objects, "object"), counted(empty, "picture"))
    return f"{', '.join(counts)} without any"


def _parts(prepared: Prepared) -> Table:
    """For each part of the network: tensors from pretrained weights, parameters that train, parameters that do not."""
    model, report = prepared.workshop.model, prepared.report
    table = Table("part", "pretrained tensors", "left as they were", "training", "frozen", box=None, pad_edge=False)
    loads = _loads(model, report) if report else {}
    unknown = ("resumed" if prepared.training.resumed else "-", "-")
    for name, inside in _part_names(model).items():
        parameters = [p for n, p in model.named_parameters() if n.startswith(f"{inside}.")]
        counts = [sum(p.numel() for p in parameters if p.requires_grad is wanted) for wanted in (True, False)]
        loaded, kept = loads.get(name, unknown)
        table.add_row(name, str(loaded), str(kept), *(f"{count:,}" for count in counts))
    for name in report.skipped if report else ():
        table.add_row(f"of the file, not used: {name}", style="dim")
    if report and report.inflated:
        table.add_row(report.inflated, style="dim")
    return table


def _loads(model: Any, report: LoadReport) -> dict[str, tuple[int, int]]:
    """For each part, tensors that were loaded and left; a C4 head has layers of the network too."""
    parts = {part: (loaded, kept) for part, loaded, kept in report.rows()}
    stage = {name for name, _ in model.head.stage.named_children()} if model.head.stage is not None else set()
    sums = {
        whole: (sum(parts[part][0] for part in inside), sum(parts[part][1] for part in inside))
        for whole, inside in (("backbone", parts.keys() - stage), ("head", parts.keys() & stage))
        if inside
    }
    return {f"backbone.body.{part}": counts for part, counts in parts.items()} | sums


def _part_names(model: Any) -> dict[str, str]:
    """What the parts are called, and where they are; with --debug each layer of the backbone is one."""
    names = {id(part): name for name, part in model.named_modules()}
    body = names[id(model.backbone.body)]
    layers = (n for n, part in model.backbone.body.named_children() if next(part.parameters(), None) is not None)
    detailed = logging.getLogger("rcnn").isEnabledFor(logging.DEBUG)
    parts = {f"backbone.body.{name}": f"{body}.{name}" for name in layers} if detailed else {"backbone": body}
    others = {"backbone.fpn": getattr(model.backbone, "fpn", None), "rpn": getattr(model, "rpn", None)}
    return parts | {name: name for name, part in others.items() if part is not None} | {"head": "head"}


def _memory() -> str:
    """The most memory used so far: the GPU's where there is one, else the process's."""
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
    if sys.platform == "win32":
        return ""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.1f} GiB"
