"""The three ways to train Faster R-CNN (section 3.2)."""

from rcnn.api.compare.pieces import Piece, run_pieces
from rcnn.api.compare.plan import Plan, Recipe
from rcnn.api.compare.record import Record
from rcnn.api.compare.study import Study, accuracy, paired_bars
from rcnn.report import papers
from rcnn.report.compare import Column, Section, Table

METHOD = "faster-rcnn"
SCHEMES = ("4-step", "approximate-joint", "exact-joint")


def _recipes(plan: Plan) -> dict[str, Recipe]:
    """By scheme; exact joint training is left out where max pooling gives it no gradient of the boxes."""
    exact = plan.configs[METHOD].model.head.pooling != "max"
    return {scheme: _recipe(plan, scheme) for scheme in SCHEMES if exact or scheme != "exact-joint"}


def _recipe(plan: Plan, scheme: str) -> Recipe:
    own = plan.configs[METHOD].training.scheme
    if scheme == ("approximate-joint" if own == "auto" else own):
        return plan.base(METHOD)
    return plan.variant(f"faster-rcnn-{scheme}", METHOD, {"training.scheme": scheme})


def _pieces(plan: Plan) -> list[Piece]:
    return [piece for recipe in _recipes(plan).values() for piece in run_pieces(recipe)]


def _section(plan: Plan, record: Record) -> Section:
    columns = (
        Column("scheme", ""),
        Column("mAP (VOC 07), %"),
        Column("AP50, %"),
        Column("AP, %"),
        Column("training, s"),
        Column("mAP (VOC 07), %", "{:.1f}", True),
        Column("training, h", "{:g}", True),
    )
    paper = papers.METHODS[METHOD].get(papers.letter(plan.asked.backbone), papers.Published())
    rows = []
    for scheme, recipe in _recipes(plan).items():
        found = record.measured(recipe.name)
        published = (paper.map07, paper.train_hours) if scheme == "4-step" else (None, None)
        ap = None if found.AP is None else 100 * found.AP
        rows.append((scheme, *accuracy(found), ap, record.trained(recipe.name).total, *published))
    says = (
        "4-step: RPN, detector, RPN again, detector again, the convolutions shared in the end; each step as long as "
        "the settings say. Approximate: all at once, proposals as constants; the paper finds it 25 to 50 % shorter and "
        "close. Exact: gradients through the proposals' coordinates too, which max pooling does not give; the "
        "paper has no number."
    )
    plot = paired_bars(
        "Schemes of training",
        "mAP of Faster R-CNN by how its two parts learned.",
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[5] for row in rows],
    )
    return Section("schemes", "Schemes of training", says, Table(columns, tuple(rows)), (plot,))


STUDY = Study("schemes", (METHOD,), True, _pieces, _section)
