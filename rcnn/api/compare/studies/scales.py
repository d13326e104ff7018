"""One against five scales of the picture (SPPnet, section 4.1; Fast R-CNN, section 5.2)."""

from rcnn.api.compare.pieces import Piece, run_pieces
from rcnn.api.compare.plan import NAMES, Plan, Recipe
from rcnn.api.compare.record import Record
from rcnn.api.compare.study import Study, accuracy, paired_bars, picture_ms
from rcnn.report import papers
from rcnn.report.compare import Column, Section, Table

SHORT = {"sppnet": 688, "fast-rcnn": 600}
"""The papers' short side at one scale."""
FIVE = (480, 576, 688, 864, 1200)
"""And at five."""


def scales_of(method: str, short: int) -> list[int]:
    """The five scales that stand to a short side as the papers' stand to theirs."""
    return [round(short * scale / SHORT[method]) for scale in FIVE]


def _recipes(plan: Plan) -> dict[str, tuple[Recipe, Recipe]]:
    """Of each method the run at one scale and that at five, both without a pyramid of features."""
    return {method: (_one(plan, method), _five(plan, method)) for method in SHORT if method in plan.methods}


def _one(plan: Plan, method: str) -> Recipe:
    return plan.variant(f"{method}-1-scale", method, {"model.neck": "none", "model.image_scales": []})


def _five(plan: Plan, method: str) -> Recipe:
    size = plan.configs[method].input
    scales = scales_of(method, size.short)
    settings = {
        "model.neck": "none",
        "model.image_scales": scales,
        "input.short": scales[-1],
        "input.long": round(size.long * scales[-1] / size.short),
    }
    if method == "fast-rcnn":
        settings["training.scales"] = scales  # it learns from one of them at a time
    return plan.variant(f"{method}-5-scales", method, settings)


def _pieces(plan: Plan) -> list[Piece]:
    return [piece for pair in _recipes(plan).values() for recipe in pair for piece in run_pieces(recipe)]


def _section(plan: Plan, record: Record) -> Section:
    columns = (
        Column("method", ""),
        Column("scales", ""),
        Column("mAP (VOC 07), %"),
        Column("AP50, %"),
        Column("ms a picture", "{:,.1f}"),
        Column("mAP (VOC 07), %", "{:.1f}", True),
        Column("s a picture", "{:g}", True),
    )
    network, rows = papers.letter(plan.asked.backbone), []
    for method, pair in _recipes(plan).items():
        known = papers.SCALES[method]
        paper = known.get(network) or next(iter(known.values()))
        for recipe, count, published in zip(pair, ("one", "five"), paper, strict=True):
            found = record.measured(recipe.name)
            rows.append((NAMES[method], count, *accuracy(found), picture_ms(found), *published))
    says = (
        "At five scales each region is read from that picture in which its area is nearest 224 x 224. The scales stand "
        "to the short side as the papers' 480, 576, 688, 864, 1200 to their 688 (SPPnet, ZF-5 there) and 600 (Fast "
        "R-CNN). Both without a pyramid of features; times without proposals."
    )
    plot = paired_bars(
        "One scale against five",
        "mAP when the convolutions see the picture once, and at five sizes.",
        [f"{row[0]}, {row[1]}" for row in rows],
        [row[2] for row in rows],
        [row[5] for row in rows],
    )
    return Section("scales", "One scale against five", says, Table(columns, tuple(rows)), (plot,))


STUDY = Study("scales", tuple(SHORT), False, _pieces, _section)
