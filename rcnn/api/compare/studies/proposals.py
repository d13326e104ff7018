"""How many proposals a detector should see (Fast R-CNN, section 5.5): at test alone, nothing is trained anew."""

from dataclasses import replace
from itertools import pairwise

from rcnn.api.compare.bench import Adapt, Bench, unchanged
from rcnn.api.compare.methods import percent
from rcnn.api.compare.pieces import Piece, measure_piece, recall_piece
from rcnn.api.compare.plan import NUMBERS, Plan
from rcnn.api.compare.record import Record
from rcnn.api.compare.study import Study, accuracy, picture_ms
from rcnn.inference.predictor import Detector
from rcnn.proposals.files import read_proposals
from rcnn.report.compare import Column, Section, Table
from rcnn.report.compare_plots import Lines
from rcnn.sample import Sample

METHOD = "fast-rcnn"
FROM_OUTSIDE = "proposals"


def at_most(number: int) -> Adapt:
    """A detector that looks at the best `number` regions of a picture."""

    def adapt(bench: Bench, detector: Detector, samples: list[Sample]) -> tuple[Detector, list[Sample]]:
        assert detector.proposer is not None
        detector.proposer = replace(detector.proposer, most=number)
        return detector, samples

    return adapt


def best_of(number: int) -> str:
    """The name of a measurement with so many regions."""
    return f"{METHOD} with {number} {FROM_OUTSIDE}"


def _numbers(plan: Plan) -> list[int]:
    """Of proposals a picture: those of the search's mode; of a given file, the first that takes in all of it."""
    known = NUMBERS[plan.configs[METHOD].model.proposals.mode]
    if plan.asked.proposals is None:
        return list(known)
    most = max(map(len, read_proposals(plan.asked.proposals).boxes.values()), default=0)
    return [number for before, number in pairwise((0, *NUMBERS["quality"])) if before < most]


def _pieces(plan: Plan) -> list[Piece]:
    base, numbers = plan.base(METHOD), _numbers(plan)
    measured = [measure_piece(best_of(number), base, at_most(number), timed=True) for number in numbers]
    return [*measured, recall_piece(FROM_OUTSIDE, base, numbers, unchanged)]


def _section(plan: Plan, record: Record) -> Section:
    columns = (
        Column("at most", "{:,}"),
        Column("mAP (VOC 07), %"),
        Column("AP50, %"),
        Column("ms a picture", "{:,.1f}"),
        Column("recall at IoU 0.5, %"),
        Column("average recall, %"),
    )
    recall, rows = record.recalled(FROM_OUTSIDE), []
    for number, at_half, average in zip(recall.numbers, recall.recall50, recall.average, strict=True):
        found = record.measured(best_of(number))
        rows.append((number, *accuracy(found), picture_ms(found), percent(at_half), percent(average)))
    curves = {"mAP of Fast R-CNN": 1, "recall at IoU 0.5": 4, "average recall": 5}
    plot = Lines(
        "mAP against the number of proposals",
        "The same trained Fast R-CNN with the best so many regions of each picture, and how much these cover.",
        {name: [(row[0], row[column]) for row in rows] for name, column in curves.items()},
        "proposals a picture, at most",
        "%",
        log=True,
    )
    says = (
        f"Fast R-CNN as trained, with fewer and fewer proposals of {record.source} at test. In the paper "
        "(VGG_CNN_M_1024, 1,000 to 10,000) "
        "mAP rises and then falls a little, and average recall goes on rising: the one does not tell the other. Times "
        "without the search."
    )
    return Section("proposals", "How many proposals", says, Table(columns, tuple(rows)), (plot,))


STUDY = Study("proposals", (METHOD,), True, _pieces, _section)
