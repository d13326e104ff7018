"""Which layers of the network to tune (Fast R-CNN, section 4.5)."""

from rcnn.api.compare.pieces import Piece, run_pieces
from rcnn.api.compare.plan import Plan, Recipe
from rcnn.api.compare.record import Record
from rcnn.api.compare.study import Study, accuracy, paired_bars
from rcnn.backbones.networks import network
from rcnn.report import papers
from rcnn.report.compare import Column, Section, Table

METHOD = "fast-rcnn"


def _recipes(plan: Plan) -> dict[int, Recipe]:
    """By frozen stages: all of the backbone, two, one, none."""
    stages = len(network(plan.asked.backbone).stages)
    frozen = sorted({stages, 2, 1, 0} & set(range(stages + 1)), reverse=True)
    return {n: plan.variant(f"fast-rcnn-frozen-{n}", METHOD, {"model.frozen_stages": n}) for n in frozen}


def _pieces(plan: Plan) -> list[Piece]:
    return [piece for recipe in _recipes(plan).values() for piece in run_pieces(recipe)]


def _section(plan: Plan, record: Record) -> Section:
    columns = (
        Column("frozen stages", ""),
        Column("mAP (VOC 07), %"),
        Column("AP50, %"),
        Column("training, s"),
        Column("mAP (VOC 07), % (VGG16)", "{:.1f}", True),
        Column("training, h", "{:g}", True),
    )
    recipes, rows = _recipes(plan), []
    most = max(recipes)
    for frozen, recipe in recipes.items():
        label = {most: f"all {most}", 0: "none"}.get(frozen, str(frozen))
        paper = papers.LAYERS.get(5 if frozen == most > 0 else frozen, (None, None))
        rows.append((label, *accuracy(record.measured(recipe.name)), record.trained(recipe.name).total, *paper))
    says = (
        "Stages of the backbone, from the picture on, that keep their pretrained weights; a pyramid of features, where "
        "there is one, always learns. The paper's: VGG16 with fc6 and up, conv3_1 and up, conv2_1 and up."
    )
    plot = paired_bars(
        "Which layers are tuned",
        "mAP of Fast R-CNN by how many stages of its backbone are left as they were.",
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[4] for row in rows],
    )
    return Section("layers", "Which layers are tuned", says, Table(columns, tuple(rows)), (plot,))


STUDY = Study("layers", (METHOD,), True, _pieces, _section)
