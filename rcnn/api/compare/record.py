"""What a comparison has found so far: `compare.json`, written anew after each finished piece."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rcnn.api.resuming import setting
from rcnn.bench import machine
from rcnn.errors import ConfigError
from rcnn.presets.overrides import flat
from rcnn.runs import write_text

FORMAT_VERSION = 1


class Result(BaseModel):
    """Plain values; None where something was not or cannot be measured."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Trained(Result):
    """A run that is complete."""

    kind: Literal["trained"] = "trained"
    run: str
    """its folder"""
    seconds: dict[str, float]
    """of training, by stage; validation and proposals are not counted"""
    pictures: int
    """to learn from"""

    @property
    def total(self) -> float | None:
        """Seconds of all stages; None for a given run that has no metrics."""
        return sum(self.seconds.values()) if self.seconds else None


class Searched(Result):
    """Proposals for all methods that make none."""

    kind: Literal["searched"] = "searched"
    file: str
    """where they are"""
    method: str
    """what made them"""
    train_seconds: float | None
    """a picture to learn from, on one core, never from a cache; the median of those timed"""
    test_seconds: float | None
    """the same of a picture to test on"""
    timed: int
    """pictures timed of each"""


class PhaseSeconds(Result):
    """Seconds a picture."""

    reading: float
    """decoding and resizing; not in any total"""
    proposals: float | None
    """of the RPN; those of selective search are in the piece `search`"""
    convolutions: float
    """what all regions of a picture share"""
    regions: float
    """all the rest, up to the detections"""


class Measured(Result):
    """A detector on the split; numbers between 0 and 1."""

    kind: Literal["measured"] = "measured"
    pictures: int
    AP: float | None
    """COCO's"""
    AP50: float | None
    """COCO's"""
    mAP: float | None  # noqa: N815
    """VOC 2007's"""
    per_class: dict[str, float | None]
    """VOC 2007's AP"""
    seconds: PhaseSeconds | None
    """None where time was not the question"""
    timed: int
    """pictures that the seconds are the median of"""
    head_parameters: int
    """weights and biases of the fully connected layers, the siblings left out"""
    warnings: list[str] = []
    """what may have changed the numbers"""


class Recalled(Result):
    """How many true boxes the best so many proposals of a picture cover."""

    kind: Literal["recalled"] = "recalled"
    numbers: list[int]
    recall50: list[float | None]
    """at an IoU of 0.5"""
    average: list[float | None]
    """mean over the IoU from 0.5 to 1"""


AnyResult = Annotated[Trained | Searched | Measured | Recalled, Field(discriminator="kind")]


class Machine(Result):
    """What it was measured on."""

    processor: str
    threads: int
    device: str
    system: str
    python: str
    torch: str


class Settings(Result):
    """What the comparison was asked for; on resuming all of it must be the same, but methods may join."""

    data: str
    backbone: str
    backbone_weights: str | None
    split: str
    train_split: str | None
    val_split: str | None
    proposals: str | None
    device: str
    precision: str | None
    """None: training as each method's settings say, measuring in fp32"""
    timed: int
    """pictures whose time is taken"""
    repeats: int
    """measurements of each time"""
    given: dict[str, str]
    """runs that were not trained here, by method"""
    configs: dict[str, dict[str, Any]]
    """by method, all settings, the seed among them"""


class Record(Result):
    """The whole file."""

    format_version: int = FORMAT_VERSION
    rcnn: str
    """version of the library"""
    machine: Machine
    """where it began"""
    other_machines: list[Machine] = []
    """where else it went on: times on them do not compare with the first one's"""
    settings: Settings
    begun: list[str] = []
    """names of the runs that were trained here, whether to their end or not"""
    pieces: dict[str, AnyResult] = {}
    """what is finished, by name"""
    tables: list[dict[str, Any]] = []
    """the same numbers as the page's tables, once all is finished"""

    def trained(self, run: str) -> Trained:
        """The run of that name."""
        result = self.pieces[f"train {run}"]
        assert isinstance(result, Trained)
        return result

    def measured(self, name: str) -> Measured:
        """The measurement of that name."""
        result = self.pieces[f"measure {name}"]
        assert isinstance(result, Measured)
        return result

    def recalled(self, source: str) -> Recalled:
        """The recall of that source of proposals."""
        result = self.pieces[f"recall {source}"]
        assert isinstance(result, Recalled)
        return result

    @property
    def searched(self) -> Searched | None:
        """The proposals from outside, where some method needed them."""
        result = self.pieces.get("search")
        return result if isinstance(result, Searched) else None

    @property
    def source(self) -> str:
        """What made the regions from outside, in words."""
        method = self.searched.method if self.searched else "selective-search"
        return {"selective-search": "selective search", "rpn": "another run's RPN"}.get(method, f"a file of {method}")

    def write(self, path: Path) -> None:
        """Write the file whole."""
        write_text(path, self.model_dump_json(indent=1) + "\n")


def new_record(settings: Settings, device: torch.device) -> Record:
    """A record of nothing yet, on this machine."""
    try:
        own = version("rcnn")
    except PackageNotFoundError:
        own = "not installed"
    return Record(rcnn=own, machine=this_machine(device), settings=settings)


def read_record(path: Path) -> Record:
    """What `Record.write` wrote; raises ConfigError for anything else, and for a newer format."""
    try:
        record = Record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; leave --resume out to begin a comparison") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: not a comparison of this version of rcnn; begin anew with --overwrite") from error
    if record.format_version > FORMAT_VERSION:
        raise ConfigError(f"{path}: format {record.format_version}, and this version reads {FORMAT_VERSION}; upgrade")
    return record


def resumed_record(record: Record, now: Settings, here: Machine) -> Record:
    """A record that goes on, on whatever machine; raises ConfigError where something else is asked for."""
    refuse_changes(record.settings, now)
    settings = now.model_copy(update={"configs": record.settings.configs | now.configs})
    known = (record.machine, *record.other_machines)
    others = [*record.other_machines, *([] if here in known else [here])]
    return record.model_copy(update={"settings": settings, "other_machines": others, "tables": []})


def refuse_changes(before: Settings, now: Settings) -> None:
    """Raise ConfigError where a resumed comparison is asked for something else than it began with.

    A method that joins brings its settings along, and its run where one is given.
    """
    old, new = (flat(settings.model_dump(mode="json")) for settings in (before, now))
    for key in new:
        group, _, rest = key.partition(".")
        begun = group not in ("configs", "given") or rest.partition(".")[0] in before.configs
        if begun and new[key] != old.get(key):
            name, advice = _typed(key, old.get(key))
            raise ConfigError(
                f"--resume: {name} is {new[key]}, but the comparison began with {old.get(key)}; "
                f"{advice}, or begin anew with --overwrite"
            )


def _typed(key: str, begun: Any) -> tuple[str, str]:
    """What the command line calls a setting, and what to type so that it is as it was."""
    group, _, rest = key.partition(".")
    method, _, name = rest.partition(".")
    if group == "configs":
        return rest, f"add --set-for {method}:{setting(name, begun)}"
    if group == "given":
        return f"--run {rest}", f"give --run {rest}={begun}" if begun else f"leave --run {rest} out"
    option = "DATA" if group == "data" else f"--{group.replace('_', '-')}"
    return option, f"give {option} {begun}" if begun is not None else f"leave {option} out"


def this_machine(device: torch.device) -> Machine:
    """What this process runs on."""
    here = machine.this_machine(device)
    return Machine(
        processor=f"{here.processor}, {here.cores} cores",
        threads=here.threads,
        device=here.device,
        system=here.system,
        python=here.python,
        torch=here.versions["torch"],
    )
