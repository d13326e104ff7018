"""From a run to its report."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from rcnn.analysis import CAUSES
from rcnn.api.data import with_splits_of
from rcnn.api.detecting import Detecting
from rcnn.api.loading import load
from rcnn.api.measuring import detect
from rcnn.api.study import Questions, Study, study
from rcnn.api.thresholds import doubtful_split
from rcnn.api.training import Prepared
from rcnn.config import Config
from rcnn.data import resolve
from rcnn.data.shown import as_shown
from rcnn.errors import ConfigError
from rcnn.inference.predictor import SHOWN, Detector
from rcnn.presets.yaml import to_yaml
from rcnn.report.page import Figures, course_of, render
from rcnn.report.page.galleries import Look
from rcnn.report.words import METHODS
from rcnn.runs import RunFolder, read_metadata, write_text
from rcnn.sample import DataSet, Sample

LARGEST = 10_000_000
"""Bytes of a page."""
EVERYTHING = Questions(every_protocol=True, intervals=True, analysis=True, score=SHOWN)


def report(
    run: Path,
    dataset: DataSet,
    data_name: str,
    split: str,
    how: Detecting,
    against: str | None = None,
    out: Path | None = None,
    on_picture: Callable[[], object] = lambda: None,
) -> Path:
    """Measure a run on a split and write its page, and the figures beside it as JSON; returns the page's file.

    `against` is another run, or a .json of predictions, for the paired test.
    """
    detector = how.detector(str(run))
    samples = how.samples(detector, str(run), dataset, split)
    rival = how.rival(against, dataset, split, samples, detector.class_names) if against else None
    predicted = how.look(detector, samples, on_picture, (EVERYTHING.protocol,))
    asked = study(predicted, split, EVERYTHING, rival, detector)
    return write_report(run, with_splits_of(RunFolder(run), dataset), data_name, asked, detector, against, out)


def write_report(
    run: Path,
    dataset: DataSet,
    data_name: str,
    answers: Study,
    detector: Detector,
    against: str | None = None,
    out: Path | None = None,
) -> Path:
    """Write the page of answers that are there already."""
    page = out or RunFolder(run).report
    document = document_of(run, dataset, data_name, answers, detector, against)
    samples = answers.predicted.samples
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page.with_suffix(".json"), json.dumps(document) + "\n")
    write_text(page, render(Figures(document), samples, _look(detector)))
    return page


def document_of(
    run: Path, dataset: DataSet, data_name: str, answers: Study, detector: Detector, against: str | None
) -> dict[str, Any]:
    """All figures of a report, as plain values."""
    folder = RunFolder(run)
    metadata = read_metadata(folder.best)
    config = Config.model_validate(metadata["config"])
    notes = [*answers.doubts, *answers.evaluation.warnings]
    document = {
        "format_version": 1,
        "run": run.resolve().name,
        "against": Path(against).name if against else None,
        "about": _about(config, metadata, detector) | {"doubt": doubtful_split(run, answers.split)},
        "data": {"name": data_name, "splits": {name: _counts(part) for name, part in dataset.splits.items()}},
        "training": course_of(folder.metrics_rows(), config.training.patience),
        "measured": answers.to_json(),
        "thresholds": metadata.get("thresholds"),
        "causes": CAUSES,
        "notes": notes,
        "settings": to_yaml(config),
    }
    return json.loads(json.dumps(document))  # as a reader of the file has it: lists, no tuples


def _look(detector: Detector) -> Look:
    """How the pictures look that a detector is given: in three colours of 8 bits, whatever channels they have."""
    preprocess = detector.preprocess

    def look(sample: Sample) -> UInt8[np.ndarray, "H W 3"]:
        return as_shown(resolve(sample.picture, detector.max_pixels, preprocess.channels), preprocess.limits)

    return look


def _about(config: Config, metadata: Mapping[str, Any], detector: Detector) -> dict[str, Any]:
    model, splits = config.model, metadata.get("splits", {})
    return {
        "method": METHODS[model.method],
        "backbone": model.backbone + (" with a feature pyramid" if model.neck == "fpn" else ""),
        "parameters": sum(parameter.numel() for parameter in detector.model.parameters()),
        "short": config.input.short,
        "learned": splits.get("train"),
        "chose": splits.get("val"),
    }


def _counts(samples: Sequence[Sample]) -> dict[str, Any]:
    names = Counter(name for sample in samples for name in sample.names)
    return {"pictures": len(samples), "empty": sum(not s.names for s in samples), "objects": dict(names)}


def split_to_report(dataset: DataSet, split: str | None) -> str:
    """The split that was asked for; else the test split, or the validation split where there is none."""
    if split is not None:
        return split
    for name in ("test", "val"):
        if dataset.splits.get(name):
            return name
    raise ConfigError(f"the data has no split test or val, only {', '.join(dataset.splits)}; pass --split NAME")


def report_of_training(prepared: Prepared, data_name: str, batch: int = 1) -> Path | None:
    """The report of a run that has just ended, on the pictures that chose its best epoch; None where there are none.

    Its page says that these pictures were used to choose, and how to measure on others.
    """
    shop = prepared.workshop
    if not shop.val or not shop.folder.best.is_file():
        return None
    run, metadata = shop.folder.path, read_metadata(shop.folder.best)
    splits = metadata["splits"]
    dataset = DataSet({splits["train"]: list(shop.train), splits["val"]: list(shop.val)}, shop.class_names)
    detector = load(run, str(shop.device))
    answers = study(detect(detector, shop.val, batch), splits["val"], EVERYTHING, None, detector)
    return write_report(run, dataset, data_name, answers, detector)
