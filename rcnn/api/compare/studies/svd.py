"""Truncated SVD of the fully connected layers at a few ranks (Fast R-CNN, section 3.1)."""

from fractions import Fraction

from rcnn.api.compare.bench import Adapt, Bench
from rcnn.api.compare.methods import over
from rcnn.api.compare.pieces import Piece, measure_piece
from rcnn.api.compare.plan import Plan
from rcnn.api.compare.record import Record
from rcnn.api.compare.study import Study, accuracy, picture_ms, regions_ms
from rcnn.compression.svd import full_rank, linear_layer, truncate_head
from rcnn.errors import ConfigError
from rcnn.heads.box_head import BoxHead
from rcnn.inference.predictor import Detector
from rcnn.report import papers
from rcnn.report.compare import Column, Section, Table
from rcnn.report.compare_plots import Lines
from rcnn.report.words import amount
from rcnn.sample import Sample

METHOD = "fast-rcnn"
PAPER = (Fraction(1, 4), Fraction(1, 16))
"""1024 and 256 of 4096."""
SHARES = ((Fraction(1, 2),) * 2, (Fraction(1, 4),) * 2, PAPER, (Fraction(1, 8),) * 2, (Fraction(1, 16),) * 2)
"""Of the full ranks of fc6, and of fc7 and all after it."""

COLUMNS = (
    Column("ranks kept", ""),
    Column("mAP (VOC 07), %"),
    Column("AP50, %"),
    Column("parameters of fc", amount),
    Column("regions, ms", "{:,.1f}"),
    Column("a picture, ms", "{:,.1f}"),
    Column("R-CNN / it", "{:.1f}x"),
    Column("mAP (VOC 07), %", "{:.1f}", True),
    Column("a picture, ms", "{:g}", True),
    Column("R-CNN / it", "{:g}x", True),
)


def truncated(shares: tuple[Fraction, Fraction]) -> Adapt:
    """A detector whose fully connected layers keep these shares of their ranks."""

    def adapt(bench: Bench, detector: Detector, samples: list[Sample]) -> tuple[Detector, list[Sample]]:
        head = detector.model.get_submodule("head")
        assert isinstance(head, BoxHead)
        full = {name: full_rank(linear_layer(head, name)) for name in head.layers}
        kept = {name: max(1, int(rank * shares[place > 0])) for place, (name, rank) in enumerate(full.items())}
        truncate_head(head, kept)
        detector.model.to(detector.device).eval()
        return detector, samples

    return adapt


def _name(shares: tuple[Fraction, Fraction]) -> str:
    return f"{METHOD} with {shares[0]} and {shares[1]} of its ranks"


def _pieces(plan: Plan) -> list[Piece]:
    head, base = plan.configs[METHOD].model.head, plan.base(METHOD)
    if not head.widths or any(head.ranks):
        raise ConfigError(
            "--svd: Fast R-CNN's head has no fully connected layers that are whole; set model.head.widths"
        )
    return [measure_piece(_name(shares), base, truncated(shares), timed=True) for shares in SHARES]


def _section(plan: Plan, record: Record) -> Section:
    network = papers.letter(plan.asked.backbone)
    nothing = (None, None)
    speedup = papers.METHODS[METHOD].get(network, papers.Published()).test_speedup
    speedups = speedup, papers.SVD_SPEEDUP.get(network)
    pairs = papers.SVD.get(network, nothing), papers.SVD_MS.get(network, nothing), speedups
    whole, cut = zip(*pairs, strict=True)
    slow = picture_ms(record.measured("rcnn")) if "rcnn" in plan.methods else None
    found = {"all": record.measured(METHOD)} | {_label(shares): record.measured(_name(shares)) for shares in SHARES}
    published = {"all": whole, _label(PAPER): cut}
    rows = [
        (
            label,
            *accuracy(one),
            one.head_parameters,
            regions_ms(one),
            picture_ms(one),
            over(slow, picture_ms(one)),
            *published.get(label, (None, None, None)),
        )
        for label, one in found.items()
    ]
    plot = Lines(
        "Truncated SVD",
        "mAP of Fast R-CNN over the parameters that its fully connected layers are left with; the last is the whole.",
        {"mAP": [(row[3], row[1]) for row in rows], "AP50": [(row[3], row[2]) for row in rows]},
        "parameters of the fully connected layers",
        "%",
        log=True,
    )
    says = (
        "Fast R-CNN's fully connected layers, each as two thin ones, without further training. The paper keeps a "
        "quarter of fc6's ranks and a sixteenth of fc7's. Times without proposals. 'rcnn compress' makes such a run, "
        "and searches for the knee."
    )
    return Section("svd", "Truncated SVD", says, Table(COLUMNS, tuple(rows)), (plot,))


def _label(shares: tuple[Fraction, Fraction]) -> str:
    first, second = shares
    return str(first) if first == second else f"{first} of fc6, {second} of fc7"


STUDY = Study("svd", (METHOD,), True, _pieces, _section)
