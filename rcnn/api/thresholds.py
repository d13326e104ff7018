"""The score from which each class is shown: chosen for a stated precision or recall, and stored in the run."""

from collections.abc import Sequence
from pathlib import Path

from rcnn.analysis import class_curves, match
from rcnn.analysis.thresholds import Threshold, thresholds_for
from rcnn.api.measuring import Predicted
from rcnn.errors import ConfigError
from rcnn.goal import Goal
from rcnn.presets.sources import is_of_others
from rcnn.runs import RunFolder, read_metadata
from rcnn.runs.tensors import read_tensors, write_tensors


def choose_thresholds(predicted: Predicted, goal: Goal) -> tuple[Threshold, ...]:
    """For each class the lowest score with at least that precision, or the highest with at least that recall."""
    return thresholds_for(goal, class_curves(match(predicted.samples, predicted.detections, predicted.class_names)))


def refuse_to_store(run: str, weights: str) -> None:
    """Raise ConfigError for what keeps no thresholds: they belong to the best weights of a run's folder."""
    if is_of_others(run) or not Path(run).is_dir() or weights != "best":
        raise ConfigError("--threshold-for: thresholds are stored in a run's best weights; give the folder of a run")


def store_thresholds(run: Path, goal: Goal, split: str, chosen: Sequence[Threshold]) -> None:
    """Write the thresholds into the run's best weights, whose other content stays as it is."""
    file = RunFolder(run).best
    tensors, metadata = read_tensors(file)
    by_class = {threshold.name: threshold.score if threshold.reached else None for threshold in chosen}
    write_tensors(file, tensors, metadata | {"thresholds": {"goal": str(goal), "split": split, "by_class": by_class}})


def doubtful_split(run: Path, split: str) -> str | None:
    """Why what holds on a split of the run's data need not hold on other pictures; None where it should."""
    metadata = read_metadata(RunFolder(run).best)
    if "source" in metadata:  # of another library: what it learned from is not told
        return None
    splits = metadata.get("splits", {})
    learned, chose = splits.get("train", "train"), splits.get("val", "val")
    if split == learned or {split, learned} <= {"train", "trainval"}:
        return f"the network learned from split {split}: on other pictures precision and recall are lower"
    if split in (chose, "trainval"):
        return f"split {split} chose the best epoch too: on other pictures precision and recall may be a little lower"
    return None
