"""The answer first: what costs most AP, and what to do next, most worth first."""

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from rcnn.report.page.figures import Figures
from rcnn.report.page.words import ERRORS, STAGES

WORTH = 0.01
"""AP50 that a kind of error must cost to be worth a word."""
WIDE = 0.1
"""An interval of AP wider than that hides most of what one could improve."""
MANY_SUSPECTS = 0.01
"""A share of the labels."""


@dataclass(frozen=True)
class Advice:
    """One thing to do."""

    does: Markup
    """What, in a sentence that may hold figures."""
    where: str
    """The section of the page that shows why."""


def advise(figures: Figures) -> list[Advice]:
    """At most five things to do, most worth first."""
    parts = (_about_scores, _about_errors, _about_labels, _about_stages, _about_training, _about_pictures)
    return [advice for part in parts for advice in part(figures)][:5]


def costliest(figures: Figures) -> list[int]:
    """The places of the kinds of error, the one that costs most AP50 first."""
    kinds = figures.at("measured", "analysis", "errors", "kinds") or []
    return sorted(range(len(kinds)), key=lambda place: -(kinds[place]["dAP50"] or 0.0))


def commonest_loss(figures: Figures) -> str | None:
    """The step that lost most objects."""
    counts = figures.at("measured", "stage_blame", "counts") or {}
    return max(counts, key=lambda cause: counts[cause]) if any(counts.values()) else None


def _about_scores(figures: Figures) -> Iterator[Advice]:
    """Nothing is shown, although something was found: the first thing that its user will see."""
    counts = figures.at("measured", "analysis", "counts") or {}
    if counts.get("detections") and not counts.get("shown"):
        found, score = (figures.show("measured", "analysis", "counts", key) for key in ("detections", "score"))
        said = Markup(
            "None of the {} detections reaches the score of {} from which it would be shown: train longer, or show "
            "each class from its best threshold, <code>rcnn evaluate --threshold-for recall=R</code>."
        )
        yield Advice(said.format(found, score), "classes")


def _about_labels(figures: Figures) -> Iterator[Advice]:
    suspects = figures.at("measured", "analysis", "suspected_label_errors") or []
    objects = figures.at("measured", "analysis", "counts", "objects") or 0
    if len(suspects) > MANY_SUSPECTS * objects and objects:
        said = Markup("Look through the {} places where labels may be wrong before you train again.")
        yield Advice(said.format(figures.show("measured", "suspects")), "labels")


def _about_errors(figures: Figures) -> Iterator[Advice]:
    kinds = figures.at("measured", "analysis", "errors", "kinds") or []
    for place in costliest(figures)[:2]:
        kind = kinds[place]
        if (kind["dAP50"] or 0) < WORTH:
            continue
        cost = figures.show("measured", "analysis", "errors", "kinds", place, "dAP50")
        said = Markup("{} errors cost {} AP50. {}").format(kind["kind"].capitalize(), cost, ERRORS[kind["kind"]][1])
        yield Advice(said, "errors")


def _about_stages(figures: Figures) -> Iterator[Advice]:
    if cause := commonest_loss(figures):
        count = figures.show("measured", "stage_blame", "counts", cause)
        said = Markup("Of {} objects that were not shown, {} were lost as <i>{}</i>. {}")
        missed = figures.show("measured", "stage_blame", "missed")
        yield Advice(said.format(missed, count, cause, STAGES[cause]), "stages")


def _about_training(figures: Figures) -> Iterator[Advice]:
    best = figures.show("training", "best_epoch")
    if figures.at("training", "patience"):
        after, enough = (figures.show("training", key) for key in ("after_best", "patience"))
        said = Markup(
            "Validation was best in epoch {}, and {} epochs brought nothing better: stop early with "
            "<code>--set training.patience={}</code>."
        )
        yield Advice(said.format(best, after, enough), "training")
    elif figures.at("training", "rising"):
        said = Markup("Validation still got better in the last epoch ({}): train longer, <code>--epochs</code>.")
        yield Advice(said.format(best), "training")


def _about_pictures(figures: Figures) -> Iterator[Advice]:
    low, high = (figures.at("measured", "interval", "AP", end) for end in ("low", "high"))
    if low is not None and high is not None and high - low > WIDE:
        said = Markup("Measure on more pictures: of {} the AP is known no better than {} to {}.")
        parts = (figures.show("measured", "interval", "AP", end) for end in ("low", "high"))
        yield Advice(said.format(figures.show("measured", "pictures"), *parts), "answer")
