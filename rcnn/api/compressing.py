"""From a run, or another library's model, to a smaller run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rcnn.api.saving import LoadedModel, read_whole, write_run
from rcnn.compression.svd import LowRankLinear, parameters, truncate_head
from rcnn.errors import ConfigError
from rcnn.heads.box_head import BoxHead
from rcnn.inference.predictor import Detector
from rcnn.presets.overrides import override
from rcnn.presets.sources import refuse_no_folder
from rcnn.runs.smaller import refuse_folder
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


def compress(
    run: Path | str,
    ranks: Mapping[str, int],
    out: Path | str,
    overwrite: bool = False,
    weights: Path | str | None = None,
) -> list[Truncated]:
    """Make the run `out` of `run` with layers of its head truncated to `ranks` ({"fc6": 1024, "fc7": 256}).

    The new run holds the best weights, the settings and the splits: it loads, evaluates and predicts as any other.
    `run` may be `LIBRARY:NAME`, its `weights` in a file. Raises ConfigError or WeightsError for ranks and runs that do
    not go together, with nothing written.
    """
    refuse_folder(Path(out), overwrite, Path(run))
    whole = load_run(run, "cpu", weights)
    head = fully_connected_head(whole.detector, run)
    parts = truncate_head(head, ranks)
    kept = [layer.rank if isinstance(layer, LowRankLinear) else 0 for layer in head.layers.values()]
    config = override(whole.config, None, (), {"model.head.ranks": kept})
    write_run(replace(whole.without_thresholds(), config=config), out, overwrite=True)
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


def load_run(run: Path | str, device: str, weights: Path | str | None = None) -> LoadedModel:
    """The best detector of a run, or that of `LIBRARY:NAME` with its `weights` in a file."""
    refuse_no_folder(str(run))
    return read_whole(run, choose_device(device), weights)


def fully_connected_head(detector: Detector, run: Path | str) -> BoxHead:
    """The head of a detector; raises ConfigError where it has no layer to truncate."""
    head = getattr(detector.model, "head", None)
    if not isinstance(head, BoxHead) or not len(head.layers):
        raise ConfigError(f"{run}: its head has no fully connected layers; there is nothing to truncate")
    return head
