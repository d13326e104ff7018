"""Softmax against support vector machines on the same features (Fast R-CNN, section 5.4; R-CNN, appendix B)."""

from jaxtyping import Float
from torch import Tensor, nn

from rcnn.api.compare.bench import Bench
from rcnn.api.compare.pieces import Piece, measure_piece, train_piece
from rcnn.api.compare.plan import NAMES, Plan, Recipe
from rcnn.api.compare.record import Record
from rcnn.api.compare.study import Study, accuracy, paired_bars
from rcnn.heads.box_head import Scored, SVMHead
from rcnn.inference.predictor import Detector
from rcnn.report import papers
from rcnn.report.compare import Column, Section, Table
from rcnn.sample import Sample

METHODS = ("rcnn", "fast-rcnn")


class SoftmaxScores(nn.Module):
    """A head with SVMs, whose scores are those of the softmax that it was fine-tuned with; its boxes stay."""

    def __init__(self, head: SVMHead) -> None:
        super().__init__()
        self.head = head
        self.layers = head.layers

    def predict(self, pooled: Float[Tensor, "N C h w"]) -> Scored:
        """The softmax's scores, and plain deltas, of each region for the classes 1..K."""
        logits, _ = self.head(pooled)
        return logits.float().softmax(-1)[:, 1:], self.head.predict(pooled)[1]


def by_softmax(bench: Bench, detector: Detector, samples: list[Sample]) -> tuple[Detector, list[Sample]]:
    """The detector without its SVMs."""
    head = detector.model.get_submodule("head")
    assert isinstance(head, SVMHead)
    detector.model.add_module("head", SoftmaxScores(head).eval())
    return detector, samples


def _recipes(plan: Plan) -> list[Recipe]:
    own = [method for method in METHODS if method in plan.methods]
    return [plan.variant(f"{method}-svm", method, {"model.head.classifier": "svm"}) for method in own]


def _pieces(plan: Plan) -> list[Piece]:
    return [
        piece
        for recipe in _recipes(plan)
        for piece in (
            train_piece(recipe),
            measure_piece(_softmax(recipe), recipe, by_softmax),
            measure_piece(recipe.name, recipe, timed=True),
        )
    ]


def _softmax(recipe: Recipe) -> str:
    return f"{recipe.name} by softmax"


def _section(plan: Plan, record: Record) -> Section:
    columns = (
        Column("method", ""),
        Column("classifier", ""),
        Column("mAP (VOC 07), %"),
        Column("AP50, %"),
        Column("mAP (VOC 07), %", "{:.1f}", True),
    )
    network, rows = papers.letter(plan.asked.backbone), []
    for recipe in _recipes(plan):
        paper = papers.CLASSIFIERS[recipe.method].get(network, (None, None))
        for name, kind, number in ((_softmax(recipe), "softmax", paper[0]), (recipe.name, "SVM", paper[1])):
            rows.append((NAMES[recipe.method], kind, *accuracy(record.measured(name)), number))
    says = (
        "One network of each method, fine-tuned with softmax; then SVMs on its features. Only the scores differ. "
        f"The paper's Fast R-CNN with softmax is another training than that with SVMs. R-CNN with AlexNet, before "
        f"box regression: softmax {papers.RCNN_CLASSIFIERS[0]}, SVM {papers.RCNN_CLASSIFIERS[1]}."
    )
    plot = paired_bars(
        "Softmax against SVM",
        "mAP of the same features, classified by the network's own softmax and by an SVM for each class.",
        [f"{row[0]}, {row[1]}" for row in rows],
        [row[2] for row in rows],
        [row[4] for row in rows],
    )
    return Section("svm", "Softmax against SVM", says, Table(columns, tuple(rows)), (plot,))


STUDY = Study("svm", METHODS, False, _pieces, _section)
