"""What is said of a path where nothing is, or something is already: commands can say it before anything is read."""

from difflib import get_close_matches
from errno import ENOTDIR
from pathlib import Path
from tempfile import TemporaryDirectory

from rcnn.errors import ConfigError, DataError, WeightsError


def refuse_missing_data(path: Path) -> None:
    """Raise DataError where there is no data set, with a name that is nearly the same."""
    if not path.exists():
        names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        near = "".join(f" (did you mean '{name}'?)" for name in get_close_matches(path.name, names, n=1))
        raise DataError(f"{path}: no such file or folder{near}; give the folder of a data set")


def refuse_missing_classes(path: Path) -> None:
    """Raise DataError where there is no folder of classes."""
    if not path.is_dir():
        raise DataError(f"{path}: no such folder; give one that holds a folder of pictures for each class")


def refuse_missing_proposals(path: Path) -> None:
    """Raise DataError where there is no file of proposals."""
    if not path.is_file():
        results = path.suffix.lower() == ".json"  # which rcnn propose reads and does not write
        advice = "give COCO results that exist" if results else f"make it with rcnn propose DATA --out {path}"
        raise DataError(f"{path}: no such file; {advice}")


def refuse_missing_results(path: Path) -> None:
    """Raise DataError where there is no file of COCO results."""
    if not path.exists():
        raise DataError(f"{path}: no such file; mend the path")


def refuse_missing_weights(path: Path) -> None:
    """Raise WeightsError where there is no file of a backbone's weights."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; pass a .pth or .safetensors file of weights")


def refuse_missing_run(path: Path) -> None:
    """Raise WeightsError where there is no run, and no file of one."""
    if not path.exists():
        raise WeightsError(
            f"{path}: no such run; pass the folder that rcnn train wrote, torchvision:NAME or detectron2:NAME"
        )


def refuse_missing_exported(path: Path) -> None:
    """Raise WeightsError where there is no exported file."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; mend the path, or bring all that rcnn export wrote")


def refuse_existing(file: Path, overwrite: bool) -> None:
    """Raise ConfigError for a file that exists, unless it may be overwritten."""
    if file.exists() and not overwrite:
        raise ConfigError(f"{file}: exists; pass --overwrite to replace it")


def refuse_unwritable(option: str, path: Path, inside: str = "inside of a file") -> None:
    """Raise ConfigError where no file or folder of this name can be made. Nothing is left of the trial.

    `inside` is the reason that is told where a file stands among its parents.
    """
    above = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    try:
        if above.is_file() and above != path.absolute():
            raise NotADirectoryError(ENOTDIR, inside)
        with TemporaryDirectory(dir=above.parent if above.is_file() else above):
            pass
    except OSError as error:
        raise ConfigError(f"{option} {path}: cannot be written ({error.strerror}); give another place") from error
