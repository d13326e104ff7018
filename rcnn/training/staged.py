"""A training from its first stage, or from where it stopped, to its last."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from rcnn.memory import keep_freed_memory
from rcnn.runs import RunFolder
from rcnn.runs.tensors import read_tensors, write_tensors
from rcnn.training.checkpoint import pack, unpack
from rcnn.training.schemes import Fit, Learn, Stage
from rcnn.training.session import Listener, Session, Stopped

Row = dict[str, Any]


@dataclass(frozen=True)
class Tools:
    """What stages need of those who know the data and the settings."""

    open: Callable[[Learn, Mapping[str, Any]], Session]
    """A session for a stage, whose files carry the given metadata. Proposals that it needs are there by then."""
    propose: Callable[[str, bool], None]
    """Let the model propose regions for the stage of that name, or read them again if that was done before."""
    fit: Callable[[Fit], float]
    """Solve for a part of the head; the seconds that it took, those before an interruption too."""
    judge: Callable[[], Mapping[str, float]] | None
    """Measure the detector; None where there is nothing to measure it on."""
    surroundings: Callable[[], AbstractContextManager[None]] = nullcontext
    """What all stages run in."""


@dataclass
class StagedTraining:
    """All stages of one run."""

    stages: Sequence[Stage]
    model: nn.Module
    folder: RunFolder
    metadata: Mapping[str, Any]
    tools: Tools
    listener: Listener
    number: int = 0
    """The stage that runs next."""
    session: Session | None = None
    """Of the stage that runs now, if it is one of gradient descent."""
    resumed: bool = field(default=False, init=False)
    """Whether the next stage goes on in its middle."""

    def begin(self) -> None:
        """Make ready for the first stage."""
        if any(isinstance(stage, Learn) and stage.fresh for stage in self.stages):
            write_tensors(self.folder.initial, self.model.state_dict(), self.metadata)
        self._open(self.stages[0])

    def resume(self) -> None:
        """Take up the newest state of the run's folder."""
        tensors, metadata = read_tensors(self.folder.last)
        self.number, self.resumed = metadata["stage"], True
        unpack(tensors, self.model, None)
        if self.number == len(self.stages):
            return
        stage = self.stages[self.number]
        if isinstance(stage, Fit):
            self.folder.cut_metrics(stage.name, 0)
            return
        self._open(stage)
        assert self.session is not None
        self.session.resume(tensors, metadata)

    def run(self) -> None:
        """Go through the stages that are left. Raises Stopped after a signal, with the state saved."""
        if self.number == len(self.stages):  # it had ended: its files stay as they are
            self._tidy()
            return
        keep_freed_memory()
        with self.tools.surroundings():
            while self.number < len(self.stages):
                self._stage(self.stages[self.number])
                self.number, self.resumed = self.number + 1, False
            self._end()

    def _stage(self, stage: Stage) -> None:
        self.listener.stage_started(stage.name, self.number + 1, len(self.stages))
        if isinstance(stage, Learn):
            self._learn(stage)
        else:
            self._fit(stage)

    def _learn(self, stage: Learn) -> None:
        if self.session is None or self.session.stage != stage.name:
            self._open(stage)
        assert self.session is not None
        if not self.resumed:
            self._refresh(stage)
        with only(self.model, stage.trains):
            self.session.run()
        if self.session.asked and self.number + 1 < len(self.stages):
            raise Stopped(f"stopped after stage {stage.name}; the state is saved, go on with --resume")

    def _open(self, stage: Stage) -> None:
        if isinstance(stage, Learn):
            if stage.proposals == "rpn":
                self.tools.propose(stage.name, self.resumed)
            self.session = None  # the memory of its graphs is free before others are recorded
            self.session = self.tools.open(stage, {**self.metadata, "stage": self.number})

    def _refresh(self, stage: Learn) -> None:
        """Bring the parts that begin anew back to where training began."""
        if stage.fresh:
            initial, _ = read_tensors(self.folder.initial)
            self.model.load_state_dict({n: t for n, t in initial.items() if n.startswith(stage.fresh)}, strict=False)

    def _fit(self, stage: Fit) -> None:
        self._save(self.number)
        seconds = self.tools.fit(stage)
        place = {"stage": stage.name, "epoch": 1, "step": 0}
        rows: list[Row] = [place | {"split": "train", "losses": {}, "seconds": seconds}]
        if self.tools.judge and self.number == len(self.stages) - 1:
            rows.append(place | {"split": "val", "losses": {}} | dict(self.tools.judge()))
        self.folder.append_metrics(rows)
        self.listener.epoch_ended(rows, best=False)

    def _end(self) -> None:
        """Leave a run that is complete: its newest state stands after all stages."""
        last = self.stages[-1]
        if isinstance(last, Fit) or not last.judged or not self.folder.best.is_file():
            write_tensors(self.folder.best, self.model.state_dict(), self.metadata)
        if len(self.stages) > 1 and not (self.session and self.session.stopped):  # that can go on with more patience
            self._save(len(self.stages))
        self._tidy()

    def _tidy(self) -> None:
        """Remove what only training needs; not before the state says that it has ended."""
        for file in (self.folder.initial, self.folder.features):
            file.unlink(missing_ok=True)

    def _save(self, number: int) -> None:
        write_tensors(self.folder.last, pack(self.model, None), {**self.metadata, "stage": number})


@contextmanager
def only(model: nn.Module, names: tuple[str, ...]) -> Iterator[None]:
    """While this context lasts, the parameters that train are those whose names begin with one of `names`."""
    stopped = [p for name, p in model.named_parameters() if p.requires_grad and not name.startswith(names)]
    for parameter in stopped:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in stopped:
            parameter.requires_grad_(True)


def still(model: nn.Module, names: tuple[str, ...], prefix: str = "") -> list[nn.Module]:
    """The largest parts of a model in which nothing trains where only `names` do; `prefix` is the model's own name."""
    parts: list[nn.Module] = []
    for child, part in model.named_children():
        name = f"{prefix}{child}."
        if any(other.startswith(name) for other in names):  # something in it trains
            parts += still(part, names, name)
        elif not name.startswith(names):
            parts.append(part)
    return parts
