"""What learning classes and boxes together gives (Fast R-CNN, section 5.1)."""

from dataclasses import replace

from rcnn.api.compare.bench import Bench
from rcnn.api.compare.pieces import Piece, measure_piece, run_pieces
from rcnn.api.compare.plan import Plan, Recipe
from rcnn.api.compare.record import Record
from rcnn.api.compare.study import Study, accuracy, paired_bars
from rcnn.inference.predictor import Detector
from rcnn.methods import FastRCNN
from rcnn.report import papers
from rcnn.report.compare import Column, Section, Table
from rcnn.sample import Sample

METHOD = "fast-rcnn"
LABELS = (
    "classification only",
    "multi-task, no regression at test",
    "stage-wise",
    "multi-task",
)


def unrefined(bench: Bench, detector: Detector, samples: list[Sample]) -> tuple[Detector, list[Sample]]:
    """The detector with regions as they came."""
    model = detector.model
    assert isinstance(model, FastRCNN)
    model.postprocess = replace(model.postprocess, refine=False)
    return detector, samples


def _stage_wise(plan: Plan) -> Recipe:
    return plan.variant("fast-rcnn-stage-wise", METHOD, {"training.scheme": "stage-wise"})


def _multi_task(plan: Plan) -> Recipe:
    if plan.configs[METHOD].training.scheme == "auto":
        return plan.base(METHOD)
    return plan.variant("fast-rcnn-multi-task", METHOD, {"training.scheme": "multi-task"})


def _pieces(plan: Plan) -> list[Piece]:
    wise, both = _stage_wise(plan), _multi_task(plan)
    return [
        *run_pieces(both),
        measure_piece(_without(both), both, unrefined),
        *run_pieces(wise),
        measure_piece(_without(wise), wise, unrefined),
    ]


def _without(recipe: Recipe) -> str:
    return f"{recipe.name} without regression"


def _section(plan: Plan, record: Record) -> Section:
    columns = (
        Column("training", ""),
        Column("mAP (VOC 07), %"),
        Column("AP50, %"),
        Column("mAP (VOC 07), %", "{:.1f}", True),
    )
    wise, both = _stage_wise(plan), _multi_task(plan)
    names = (_without(wise), _without(both), wise.name, both.name)
    paper = papers.MULTI_TASK.get(papers.letter(plan.asked.backbone), (None,) * len(LABELS))
    rows = [(label, *accuracy(record.measured(n)), p) for label, n, p in zip(LABELS, names, paper, strict=True)]
    says = (
        "Stage-wise training learns the classes, then freezes all of the network and learns the regression; with the "
        "regression left out at test, that network is the one of classification alone."
    )
    plot = paired_bars(
        "Multi-task training",
        "mAP of Fast R-CNN by what it learned, and whether regions were moved at test.",
        LABELS,
        [row[1] for row in rows],
        list(paper),
    )
    return Section("multi-task", "Multi-task training", says, Table(columns, tuple(rows)), (plot,))


STUDY = Study("multi-task", (METHOD,), True, _pieces, _section)
