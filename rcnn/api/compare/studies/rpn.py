"""Selective search against an RPN as the proposals of one trained detector (Faster R-CNN, section 4.1)."""

from rcnn.api.compare.bench import Adapt, Bench
from rcnn.api.compare.methods import percent
from rcnn.api.compare.pieces import Piece, measure_piece, recall_piece
from rcnn.api.compare.plan import Plan
from rcnn.api.compare.record import Record
from rcnn.api.compare.studies.proposals import at_most, best_of
from rcnn.api.compare.study import Study, accuracy
from rcnn.api.proposals import rpn_proposals
from rcnn.api.regions import attached
from rcnn.inference.predictor import Detector
from rcnn.report import papers
from rcnn.report.compare import Column, Section, Table
from rcnn.report.compare_plots import Lines
from rcnn.sample import Sample

METHOD, PROPOSER = "fast-rcnn", "faster-rcnn"
NUMBERS = (50, 100, 300, 1000)
RPN = "RPN"
BESIDE = "proposals beside the RPN's"


def from_rpn(plan: Plan, number: int) -> Adapt:
    """A detector that looks at the best `number` regions that the RPN of Faster R-CNN proposes."""

    def adapt(bench: Bench, detector: Detector, samples: list[Sample]) -> tuple[Detector, list[Sample]]:
        proposer = bench.detector(plan.base(PROPOSER))
        return at_most(number)(bench, detector, attached(samples, rpn_proposals(proposer, samples, number)))

    return adapt


def _of_rpn(number: int) -> str:
    return f"{METHOD} with {number} of {RPN}"


def _pieces(plan: Plan) -> list[Piece]:
    base, most = plan.base(METHOD), NUMBERS[-1]
    searched = [measure_piece(best_of(number), base, at_most(number), timed=True) for number in NUMBERS]
    proposed = [measure_piece(_of_rpn(n), base, from_rpn(plan, n), also=(PROPOSER,)) for n in NUMBERS]
    recalls = [
        recall_piece(BESIDE, base, NUMBERS, at_most(most)),
        recall_piece(RPN, base, NUMBERS, from_rpn(plan, most), also=(PROPOSER,)),
    ]
    return [*searched, *proposed, *recalls]


def _section(plan: Plan, record: Record) -> Section:
    columns = (
        Column("proposals", ""),
        Column("at most", "{:,}"),
        Column("mAP (VOC 07), %"),
        Column("AP50, %"),
        Column("recall at IoU 0.5, %"),
        Column("mAP (VOC 07), % (ZF-5)", "{:.1f}", True),
    )
    rows, outside = [], record.source
    for source, name, recall in ((outside, best_of, BESIDE), (RPN, _of_rpn, RPN)):
        for number, share in zip(NUMBERS, record.recalled(recall).recall50, strict=True):
            paper = papers.RPN_AT_TEST.get(number) if source == RPN else None
            rows.append((source, number, *accuracy(record.measured(name(number))), percent(share), paper))
    says = (
        f"One Fast R-CNN, trained on proposals of {outside}; at test it sees those, or proposals of the RPN of "
        "the Faster R-CNN trained here, which shares nothing with it. The paper's detector, with ZF-5, has "
        f"{papers.SOURCES['selective search']} with 2,000 of selective search, and {papers.SOURCES[RPN]} trained and "
        "tested with 300 of an RPN that shares its convolutions."
    )
    plot = Lines(
        "Selective search against an RPN",
        "mAP of one trained Fast R-CNN with the best so many proposals of either source.",
        {source: [(row[1], row[2]) for row in rows if row[0] == source] for source in (outside, RPN)},
        "proposals a picture, at most",
        "mAP (VOC 07), %",
        log=True,
    )
    return Section("rpn", "Selective search against an RPN", says, Table(columns, tuple(rows)), (plot,))


STUDY = Study("rpn", (METHOD, PROPOSER), True, _pieces, _section)
