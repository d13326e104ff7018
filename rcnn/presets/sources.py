"""What a detector can be made from, as far as it takes no tensors to know: runs, their settings, others' models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rcnn.config import Config
from rcnn.errors import ConfigError, WeightsError
from rcnn.model_files import is_exported
from rcnn.paths import refuse_missing_exported, refuse_missing_results, refuse_missing_run
from rcnn.runs import RunFolder, read_metadata

OTHERS = ("torchvision", "detectron2")
"""Libraries whose models are named LIBRARY:NAME."""
Which = Literal["best", "last"]


def is_of_others(source: object) -> bool:
    """Whether a model is named LIBRARY:NAME."""
    return str(source).partition(":")[0] in OTHERS


def file_of(source: Path | str, which: Which = "best") -> Path:
    """The weights of a run, or of one of its files; raises WeightsError where there is neither."""
    path = Path(source)
    refuse_missing_run(path)
    if path.is_dir():
        return RunFolder(path).best if which == "best" else RunFolder(path).last
    return path


def which_of(run: str, weights: str) -> Which | None:
    """Which of a run's two states `weights` names; None for a model of others, whose weights are a file.

    Raises ConfigError where it names neither.
    """
    if is_of_others(run):
        return None
    if weights in ("best", "last"):
        return weights  # type: ignore[return-value]
    raise ConfigError(f"--weights {weights}: give best or last, the two that a run keeps")


def refuse_unreadable(run: str, weights: str = "best") -> None:
    """Raise an error for a run that is not there or cannot be read, and for an exported file that is not there.

    Of others' models nothing is known yet.
    """
    which = which_of(run, weights)
    if is_exported(run):
        refuse_missing_exported(Path(run))
    elif which:
        read_metadata(file_of(run, which))


def refuse_exported(source: Path | str) -> None:
    """Raise ConfigError for a file of `rcnn export`, where a network with its weights is needed."""
    if is_exported(source):
        raise ConfigError(f"{source}: an exported file only detects; give the folder of the run that it came from")


def refuse_no_folder(run: str) -> None:
    """Raise ConfigError for what is neither the folder of a run nor LIBRARY:NAME."""
    if not is_of_others(run) and Path(run).is_file():
        raise ConfigError(f"{run}: a file; give the folder of a run")
    if not is_of_others(run) and not Path(run).exists():
        raise ConfigError(f"{run}: no such run; give the folder of one, which rcnn train makes")


def refuse_ours(source: str) -> None:
    """Raise ConfigError for a source that is a run already."""
    if not is_of_others(source):
        raise ConfigError(f"{source}: no model of another library; give torchvision:NAME or detectron2:NAME")


def refuse_missing_rival(source: str | None, weights: str = "best") -> None:
    """Raise an error where what a run is compared with, another run or a .json of predictions, is not there."""
    if source is not None and source.endswith(".json"):
        refuse_missing_results(Path(source))
    elif source is not None:
        refuse_unreadable(source, weights)


def config_of(metadata: Mapping[str, Any], path: Path) -> Config:
    """The settings in a run's metadata; `path` is for the message if they are of another version."""
    try:
        return Config.model_validate(metadata["config"])
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{path}: its settings are not of this version ({str(error).splitlines()[0]})") from error


def stored_config(run: Path) -> Config:
    """The settings that a run began with; of one that was made, not trained, those that it has."""
    folder = RunFolder(run)
    made = folder.best.is_file() and not folder.last.is_file()
    file = folder.best if made else folder.last
    return config_of(read_metadata(file), file)


def data_of(run: Path) -> Path:
    """Where the run's data was when it was trained; raises ConfigError where nobody knows or it is gone."""
    place = read_metadata(RunFolder(run).best).get("reading", {}).get("data")
    if place is None or not Path(place).exists():
        where = f"{place}, where it was," if place else "it"
        raise ConfigError(f"{run}: trained on data that is not at hand ({where} cannot be found); give DATA too")
    return Path(place)
