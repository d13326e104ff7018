"""A detector with all that a run's file says of it: from a run or another library, and into the folder of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rcnn.api.loading import as_trained
from rcnn.api.transfer import source_config
from rcnn.config import Config
from rcnn.inference.predictor import Detector
from rcnn.presets.sources import config_of, is_of_others, refuse_ours
from rcnn.presets.yaml import to_yaml
from rcnn.runs import RunFolder, read_metadata, write_text
from rcnn.runs.smaller import refuse_taken
from rcnn.runs.tensors import write_tensors


@dataclass(frozen=True)
class LoadedModel:
    """A detector with the parameters that it was trained with, and what belongs to it."""

    detector: Detector
    config: Config
    about: Mapping[str, Any]
    """What a run's file says beside the settings: class names, numbers of COCO's, what it was trained on."""
    splits: str | None = None
    """Which pictures were in which split, as the run has it; None where nobody knows."""

    def without_thresholds(self) -> "LoadedModel":
        """The same without stored thresholds: they hold for the scores of one network, not for those of another."""
        return replace(self, about={name: value for name, value in self.about.items() if name != "thresholds"})


def read_whole(source: Path | str, where: torch.device, weights: Path | str | None = None) -> LoadedModel:
    """What is to be had of a run, of one of its files, or of `LIBRARY:NAME` with its `weights` in a file.

    Raises WeightsError for what cannot be read, ConfigError for `weights` beside a run.
    """
    detector = as_trained(source, where, weights=weights)
    if is_of_others(source):
        about = {"class_names": list(detector.class_names), "category_ids": detector.category_ids}
        return LoadedModel(detector, source_config(source), about | {"source": str(source)})
    folder = RunFolder(Path(source))
    file = folder.best if folder.path.is_dir() else folder.path
    metadata = read_metadata(file)
    about = {name: value for name, value in metadata.items() if name not in ("format_version", "config")}
    splits = folder.splits.read_text("utf-8") if folder.splits.is_file() else None
    return LoadedModel(detector, config_of(metadata, file), about, splits)


def write_run(whole: LoadedModel, out: Path | str, overwrite: bool = False) -> RunFolder:
    """Write the folder of a run that holds the detector: it loads, evaluates, predicts and is begun from as any other.

    Raises ConfigError for a folder that exists, unless it may be overwritten.
    """
    folder = RunFolder(Path(out))
    folder.create(overwrite)
    write_text(folder.config, to_yaml(whole.config))
    if whole.splits is not None:
        write_text(folder.splits, whole.splits)
    metadata = {"config": whole.config.model_dump(mode="json"), **whole.about}
    write_tensors(folder.best, whole.detector.model.state_dict(), metadata)
    return folder


def save(source: str, out: Path | str, weights: Path | str | None = None, overwrite: bool = False) -> LoadedModel:
    """Make a run of another library's model: `save("detectron2:NAME", "runs/theirs", "model_final.pkl")`.

    Raises ConfigError for a source that is a run already, and for a folder that exists; WeightsError for weights that
    cannot be read; with nothing written.
    """
    refuse_ours(source)
    refuse_taken(Path(out), overwrite)
    whole = read_whole(source, torch.device("cpu"), weights)
    write_run(whole, out, overwrite)
    return whole
