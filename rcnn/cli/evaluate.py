"""What `rcnn evaluate` does."""

import json
from collections.abc import Mapping
from pathlib import Path

from rcnn import api
from rcnn.api.detecting import Detecting
from rcnn.api.predictions import read_predictions, write_predictions
from rcnn.api.study import Questions, Study, study
from rcnn.api.thresholds import doubtful_split, refuse_to_store, store_thresholds
from rcnn.cli.counting import counting
from rcnn.cli.numbers import console, note
from rcnn.runs import write_text


def measure(
    run: str | None,
    data: Path,
    split: str,
    how: Detecting,
    asked: Questions,
    reading: Mapping[str, object],
    predictions: Path | None,
    against: str | None,
    save_predictions: Path | None,
) -> Study:
    """Look, and answer; what takes long begins when all that could be wrong has been looked at."""
    if asked.goal and run:
        refuse_to_store(run, how.weights)
    detector = how.detector(run) if run else None
    looks = (
        {"max_pixels": detector.max_pixels, "channels": detector.preprocess.channels}
        if detector
        else {"channels": None}
    )
    dataset = api.read_data(data, **reading, **looks)  # type: ignore[arg-type]
    if detector and run:
        samples, names = how.samples(detector, run, dataset, split), detector.class_names
    else:
        assert predictions is not None
        predicted = read_predictions(predictions, dataset, split)
        samples, names = list(predicted.samples), predicted.class_names
    rival = how.rival(against, dataset, split, samples, names) if against else None
    if detector:
        with counting(len(samples), "detecting", console) as on_picture:
            predicted = how.look(detector, samples, on_picture, (asked.protocol,))
    if save_predictions:
        write_predictions(save_predictions, predicted, dataset)
    return study(predicted, split, asked, rival, detector)


def keep(result: Study, asked: Questions, run: str | None, json_file: Path | None) -> None:
    """Write the numbers, and store the thresholds in the run; a word where an exported file could not tell all."""
    if asked.analysis and run and result.blame is None:
        note("an exported file shows no stages; where it lost the missed objects, the run that it came from can tell")
    store(result, run)
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        write_text(json_file, json.dumps(result.to_json(), indent=2) + "\n")


def store(result: Study, run: str | None) -> None:
    """Store the thresholds in the run, with a word where they may not hold elsewhere."""
    if result.goal is None or result.thresholds is None or run is None:
        return
    store_thresholds(Path(run), result.goal, result.split, result.thresholds)
    console.print(f"stored in {run}: rcnn predict shows each class from its threshold on", soft_wrap=True)
    if doubt := doubtful_split(Path(run), result.split):
        note(doubt)
