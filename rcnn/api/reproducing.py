"""A row of a paper's table on a user's VOC: the pictures, the training, and our number beside the published one."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rcnn.api.compressing import compress
from rcnn.api.loading import load
from rcnn.api.measuring import evaluate_detector, evaluation_samples
from rcnn.api.training import Prepared, Weights, prepare_training
from rcnn.backbones.networks import WEIGHTS
from rcnn.config import Config
from rcnn.data import enforce, samples_of
from rcnn.data.defects import OpenedData
from rcnn.data.files import child
from rcnn.data.voc import read_voc
from rcnn.errors import ConfigError, DataError, WeightsError
from rcnn.evaluation import Evaluation
from rcnn.presets.rows import Part, Row
from rcnn.report import papers
from rcnn.runs import REPRODUCED, RunFolder, write_text
from rcnn.sample import DataSet, Sample
from rcnn.training.schemes import Learn
from rcnn.training.session import Listener

TARS = {
    (2007, "trainval"): "VOCtrainval_06-Nov-2007.tar",
    (2007, "test"): "VOCtest_06-Nov-2007.tar",
    (2012, "trainval"): "VOCtrainval_11-May-2012.tar",
}
"""The archives of VOC that the splits come in."""


PER_CLASS = {"rcnn-vgg16-07": "rcnn", "sppnet-vgg16-07-5-scales": "sppnet", "fast-rcnn-vgg16-07": "fast-rcnn"}
"""The rows of which a paper gives every class, and their methods."""


@dataclass(frozen=True)
class Reproduced:
    """What came of a row."""

    row: Row
    run: Path
    """The run that was measured: the truncated one where the row has ranks."""
    evaluation: Evaluation
    seconds: float
    """A picture at test, without the search for proposals."""
    hours: float
    """Of training, as far as the run's metrics tell."""

    @property
    def map(self) -> float | None:
        """Our mean average precision, in percent as the papers give theirs."""
        value = self.evaluation.metrics["mAP"]
        return None if math.isnan(value) else 100 * value

    @property
    def difference(self) -> float | None:
        """Points of mAP above the published number."""
        return None if self.map is None or self.row.map is None else self.map - self.row.map


def published_classes(name: str) -> dict[str, float]:
    """AP by class, in percent, that was published for a row; nothing where none was."""
    return papers.PER_CLASS[PER_CLASS[name]] if name in PER_CLASS else {}


@dataclass(frozen=True)
class Plan:
    """How long one stage is."""

    stage: str
    pictures: int
    batch: int
    iterations: int

    @property
    def passes(self) -> float:
        """How often each picture is seen."""
        return self.iterations * self.batch / self.pictures


def voc_data(devkit: Path | str, row: Row) -> DataSet:
    """The pictures of a row as the splits `trainval` and `test`, difficult objects included.

    `devkit` holds VOC2007, and VOC2012 for rows on both years. Raises DataError for what is missing.
    """
    path = Path(devkit)
    above = child(path, "VOCdevkit") or path
    parts = (row.test, *row.train)
    opened = {year: _year(above, year) for year in sorted({part.year for part in parts})}
    samples = {part: _part(above, opened[part.year], part) for part in parts}
    owners: dict[str, int] = {}
    test, *trains = ([_own(sample, part.year, owners) for sample in samples[part]] for part in parts)
    train = [sample for some in trains for sample in some]
    names = sorted({name for sample in (*train, *test) for name in sample.names})
    return DataSet({"trainval": train, "test": test}, tuple(names))


def prepare_row(
    name: str,
    row: Row,
    config: Config,
    dataset: DataSet,
    out: Path | str,
    listener: Listener,
    weights: Weights = None,
    **options: Any,
) -> Prepared:
    """The row's training, ready to begin or to go on; the options are those of `prepare_training`.

    Raises WeightsError where its network has no weights to download and none are given, and ConfigError for layers
    that are too narrow for the row's ranks: now, not after all training.
    """
    backbone = config.model.backbone
    _check_ranks(name, row, config)
    if weights is None and backbone not in WEIGHTS and not options.get("resume"):
        raise WeightsError(
            f"{name}: no ImageNet weights of {backbone} can be downloaded; pass --weights FILE "
            f"(rcnn pretrain makes one), or --weights none to begin from chance"
        )
    options |= {"train_split": "trainval", "val_split": "none", "backbone_weights": weights}
    try:
        return prepare_training(dataset, out, listener, config, **options)
    except WeightsError as error:
        raise WeightsError(str(error).replace("--backbone-weights", "--weights")) from error


def _check_ranks(name: str, row: Row, config: Config) -> None:
    widths = {f"fc{number}": width for number, width in enumerate(config.model.head.widths, start=6)}
    for layer, rank in row.ranks.items():
        if rank > widths.get(layer, 0):
            raise ConfigError(
                f"{name}: keeps {rank} ranks of {layer}, which has {widths.get(layer, 0)} units; leave "
                "model.head.widths as in the paper, or train the row without -svd and use rcnn compress"
            )


def plans(prepared: Prepared) -> list[Plan]:
    """The length of each stage of gradient descent."""
    workshop, pictures = prepared.workshop, len(prepared.workshop.train)
    together = prepared.config.training.batch, prepared.config.training.accumulate
    return [
        Plan(stage.name, pictures, (stage.length.batch or together[0]) * together[1], workshop.iterations(stage))
        for stage in prepared.training.stages
        if isinstance(stage, Learn)
    ]


def measure_row(
    row: Row,
    dataset: DataSet,
    out: Path | str,
    device: str = "auto",
    proposals: Path | str | None = None,
    search_workers: int = 0,
    on_picture: Callable[[], object] = lambda: None,
) -> Reproduced:
    """Measure a row's finished run on VOC2007 test by its protocol, one picture at a time.

    A row with ranks is truncated first: the smaller run stands in the folder `svd` of the run.
    """
    run = Path(out)
    if row.ranks:
        compress(run, row.ranks, RunFolder(run).truncated, overwrite=True)
        run = RunFolder(run).truncated
    detector = load(run, device)
    samples = evaluation_samples(detector, dataset, "test", None, proposals, search_workers)
    evaluation, seconds = evaluate_detector(detector, samples, "voc07", 1, on_picture)
    return Reproduced(row, run, evaluation, seconds, _hours(RunFolder(Path(out))))


def begun_with(out: Path | str) -> str:
    """The weights that a run began with: a file, `none`, or `torchvision`."""
    return RunFolder(Path(out)).state()["reading"].get("backbone_weights") or "torchvision"


def write_reproduced(name: str, found: Reproduced, sets: Sequence[str], weights: str) -> Path:
    """Write `reproduce.json` into the run that was measured; `sets` are the settings that were not the paper's."""
    published = {
        "mAP": found.row.map,
        "seconds_per_picture": found.row.seconds,
        "training_hours": found.row.hours,
        "per_class": {kind: {"AP": ap / 100} for kind, ap in published_classes(name).items()},
    }
    ours = {"mAP": found.map, "seconds_per_picture": found.seconds, "training_hours": found.hours}
    evaluation = found.evaluation.to_json()
    content = {
        "row": name,
        "preset": found.row.preset,
        "set": list(sets),
        "weights": weights,
        "published": published,
        "ours": ours,
        "difference": found.difference,
        "protocol": evaluation["protocol"],
        "pictures": evaluation["pictures"],
        "per_class": evaluation["per_class"],
    }
    file = found.run / REPRODUCED
    write_text(file, json.dumps(content, indent=2) + "\n")
    return file


def _year(above: Path, year: int) -> OpenedData:
    """One year of VOC, its annotations in order."""
    folder = child(above, f"VOC{year}")
    if folder is None or child(folder, "Annotations") is None:
        archives = " and ".join(tar for (of, _), tar in TARS.items() if of == year)
        raise DataError(
            f"{above}: holds no VOC{year}; give --voc the folder that VOC{year} lies in (unpack {archives} there)"
        )
    opened = read_voc(folder)
    enforce(opened.dataset, opened.findings, "fail", str(folder))
    return opened


def _part(above: Path, opened: OpenedData, part: Part) -> list[Sample]:
    """A split of one year."""
    if part.split not in opened.dataset.splits or opened.dataset.drawn:
        tar = TARS.get((part.year, part.split), "its archive")
        raise DataError(f"{above / f'VOC{part.year}'}: has no split {part.split}; unpack {tar} there too")
    return samples_of(opened.dataset, part.split)


def _own(sample: Sample, year: int, owners: dict[str, int]) -> Sample:
    """The sample under an id that no other year has. (VOC's own names differ between years.)"""
    return sample if owners.setdefault(sample.id, year) == year else replace(sample, id=f"VOC{year}/{sample.id}")


def _hours(folder: RunFolder) -> float:
    """What the lines of metrics sum up to; proposals, and all that was done twice, are left out."""
    if not folder.metrics.is_file():
        return math.nan
    rows = [json.loads(line) for line in folder.metrics.read_text("utf-8").splitlines()]
    return sum(row.get("seconds", 0.0) for row in rows) / 3600
