"""From a run to a smaller one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rcnn.api.loading import as_trained
from rcnn.compression.svd import LowRankLinear, parameters, truncate_head
from rcnn.errors import ConfigError
from rcnn.heads.box_head import BoxHead
from rcnn.inference.predictor import Detector
from rcnn.presets.overrides import override
from rcnn.presets.sources import config_of, is_of_others
from rcnn.presets.yaml import to_yaml
from rcnn.runs import RunFolder, read_metadata, write_text
from rcnn.runs.smaller import refuse_folder
from rcnn.runs.tensors import write_tensors
from rcnn.training.session import choose_device


@dataclass(frozen=True)
class Truncated:
    """What became of a layer."""

    name: str
    inputs: int
    outputs: int
    rank: int
    before: int
    """Weights and biases of the whole layer."""
    after: int
    energy: float
    """The share of the squared weights that is kept."""


def compress(run: Path | str, ranks: Mapping[str, int], out: Path | str, overwrite: bool = False) -> list[Truncated]:
    """Make the run `out` of `run` with layers of its head truncated to `ranks` ({"fc6": 1024, "fc7": 256}).

    The new run holds the best weights, the settings and the splits: it loads, evaluates and predicts as any other.
    Raises ConfigError or WeightsError for ranks and runs that do not go together, with nothing written.
    """
    folder = RunFolder(Path(out))
    refuse_folder(folder.path, overwrite, Path(run))
    detector = load_run(run, "cpu")
    head = fully_connected_head(detector, run)
    source = RunFolder(Path(run))
    metadata = read_metadata(source.best)
    parts = truncate_head(head, ranks)
    kept = [layer.rank if isinstance(layer, LowRankLinear) else 0 for layer in head.layers.values()]
    config = override(config_of(metadata, source.best), None, (), {"model.head.ranks": kept})
    folder.create(overwrite=True)
    write_text(folder.config, to_yaml(config))
    if source.splits.is_file():
        write_text(folder.splits, source.splits.read_text("utf-8"))
    # Thresholds hold for the scores that they were measured on, not for those of another network.
    carried = {name: value for name, value in metadata.items() if name not in ("format_version", "thresholds")}
    write_tensors(folder.best, detector.model.state_dict(), carried | {"config": config.model_dump(mode="json")})
    return [
        Truncated(
            name,
            part.layer.in_features,
            part.layer.out_features,
            ranks[name],
            parameters(part.layer),
            parameters(head.layers[name]),
            part.energy(ranks[name]),
        )
        for name, part in parts.items()
    ]


def load_run(run: Path | str, device: str) -> Detector:
    """The best detector of a run that this library trained."""
    if is_of_others(run):
        raise ConfigError(f"{run}: no run of this library; give the folder of one, which rcnn train makes")
    if Path(run).is_file():
        raise ConfigError(f"{run}: a file; give the folder of a run")
    return as_trained(run, choose_device(device))


def fully_connected_head(detector: Detector, run: Path | str) -> BoxHead:
    """The head of a detector; raises ConfigError where it has no layer to truncate."""
    head = getattr(detector.model, "head", None)
    if not isinstance(head, BoxHead) or not len(head.layers):
        raise ConfigError(f"{run}: its head has no fully connected layers; there is nothing to truncate")
    return head
