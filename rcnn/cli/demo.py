"""What `rcnn demo` does."""

from collections.abc import Sequence
from pathlib import Path

from rcnn import api
from rcnn.api.reporting import EVERYTHING, write_report
from rcnn.api.study import study
from rcnn.cli.numbers import show
from rcnn.cli.progress import TrainingProgress, show_plan
from rcnn.config import Config
from rcnn.data.digits import digit_scenes
from rcnn.data.picture import resolve
from rcnn.inference.draw import contact_sheet, draw
from rcnn.inference.predictor import Detector
from rcnn.runs import RunFolder
from rcnn.sample import DataSet, Sample

TRAIN, VAL, TEST = 640, 40, 100  # scenes
SHOWN = 12


def run(out: Path, config: Config, seed: int, overwrite: bool) -> None:
    """Train, evaluate and draw."""
    dataset = with_arrays(digit_scenes(TRAIN, VAL, TEST, seed))
    listener = TrainingProgress(RunFolder(out).events)
    prepared = api.prepare_training(
        dataset, out, listener, config, backbone_weights="none", overwrite=overwrite, device="cpu"
    )
    show_plan(prepared)
    with listener:
        prepared.training.run()
    detector = api.load(out, "cpu")
    test = dataset.splits["test"]
    answers = study(api.detect(detector, test, 8), "test", EVERYTHING, None, detector)
    show(answers.evaluation, "test", answers.predicted.seconds)
    page = write_report(out, dataset, "handwritten digits in scenes", answers, detector)
    sheet = draw_examples(detector, test[:SHOWN], out / "examples")
    print(f"\nreport: {page}: how good it is, where it errs, and what to do next")
    print(f"examples: {sheet} (one sheet) and the pictures beside it; the run: {out}")
    print("on your own pictures, labelled in VOC, COCO, YOLO or CSV form:")
    print("  rcnn train DATA --out runs/mine")
    print("  rcnn evaluate runs/mine DATA --split test")
    print("  rcnn predict runs/mine PICTURES --out found")


def with_arrays(dataset: DataSet) -> DataSet:
    """The same scenes, drawn once instead of anew in every epoch."""
    splits = {
        name: [Sample(s.id, resolve(s.picture), s.boxes, s.names) for s in samples]
        for name, samples in dataset.splits.items()
    }
    return DataSet(splits, dataset.class_names)


def draw_examples(detector: Detector, samples: Sequence[Sample], folder: Path) -> Path:
    """Draw what was found in some pictures, each alone and all on a sheet; returns the sheet's file."""
    folder.mkdir(exist_ok=True)
    found = detector.predict((sample.picture for sample in samples), batch=4, score=0.5)
    images = [draw(resolve(s.picture), d, scale=3.0) for s, d in zip(samples, found, strict=True)]
    for sample, image in zip(samples, images, strict=True):
        image.save(folder / f"{sample.id}.png")
    sheet = folder / "sheet.png"
    contact_sheet(images, 4).save(sheet)
    return sheet
