"""From figures and pictures to the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from rcnn.report.page import plots
from rcnn.report.page.advice import advise, costliest
from rcnn.report.page.figures import Figures
from rcnn.report.page.galleries import Cutting, Gallery, Look
from rcnn.report.page.words import ERRORS, STAGES, SUSPICIONS
from rcnn.sample import Sample

TEMPLATES = Path(__file__).parents[1] / "templates"
OF_A_KIND, OF_A_STAGE, SUSPECTS = 8, 4, 24
"""Cuttings shown of each kind of error, of each stage, and of labels."""
MOST_CLASSES = 30
"""In the confusion matrix; of more only the commonest confusions are listed."""


def render(figures: Figures, samples: Sequence[Sample], look: Look) -> str:
    """The page as one text of HTML; `samples` are what was measured, `look` makes their pictures."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=FileSystemLoader(TEMPLATES))
    gallery = Gallery(samples, look)
    shown = _lowest(figures, plots.MOST_CLASSES)
    return environment.get_template("report.html").render(
        figures=figures,
        at=figures.at,
        show=figures.show,
        advice=advise(figures),
        costliest=costliest(figures),
        matrix=_matrix(figures),
        errors={place: _errors(figures, gallery, place) for place in costliest(figures)},
        stages=_stages(figures, gallery),
        suspected=_suspects(figures, gallery),
        drawn=_drawn(figures, shown),
        shown=shown,
        words={"errors": ERRORS, "stages": STAGES, "suspicions": SUSPICIONS},
        css=Markup((TEMPLATES / "report.css").read_text("utf-8")),
    ) + "\n"  # fmt: skip


def _lowest(figures: Figures, count: int) -> list[int]:
    """The places of the classes with the lowest AP50, in the order of the classes; all where they are few."""
    curves = figures.at("measured", "analysis", "curves") or []
    known = [place for place, curve in enumerate(curves) if curve["AP50"] is not None]
    return sorted(sorted(known, key=lambda place: curves[place]["AP50"])[:count])


def _drawn(figures: Figures, shown: Sequence[int]) -> dict[str, Any]:
    drawn: dict[str, Any] = {"losses": plots.losses(figures), "scores": plots.scores(figures)}
    if shown:
        drawn["precision_recall"] = plots.precision_recall(figures, shown)
        drawn["thresholds"] = [Markup(plots.by_threshold(figures, place)) for place in shown]
    return {name: Markup(drawing) if isinstance(drawing, str) else drawing for name, drawing in drawn.items()}


def _errors(figures: Figures, gallery: Gallery, place: int) -> list[Cutting]:
    return gallery.show(figures.at("measured", "analysis", "errors", "kinds", place, "worst")[:OF_A_KIND])


def _stages(figures: Figures, gallery: Gallery) -> dict[str, list[Cutting]]:
    worst = figures.at("measured", "stage_blame", "worst") or {}
    return {cause: gallery.show(items[:OF_A_STAGE], stage=True) for cause, items in worst.items() if items}


def _suspects(figures: Figures, gallery: Gallery) -> list[Cutting]:
    return gallery.show((figures.at("measured", "analysis", "suspected_label_errors") or [])[:SUSPECTS])


def _matrix(figures: Figures) -> list[list[float]] | None:
    """How dark each cell of the confusion matrix is: its share of its row; None where there are too many classes."""
    table = figures.at("measured", "analysis", "confusion", "table")
    if not table or len(table) > MOST_CLASSES + 1:
        return None
    return [[value / max(1, sum(row)) for value in row] for row in table]
