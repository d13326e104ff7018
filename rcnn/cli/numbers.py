"""What an evaluation says, on the screen."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from rcnn.analysis import Analysis, StageBlame
from rcnn.analysis.thresholds import Threshold
from rcnn.api.study import Study
from rcnn.cli.tables import flowed, show_table
from rcnn.evaluation import Evaluation
from rcnn.evaluation.interval import Interval, Paired
from rcnn.evaluation.side_by_side import SideBySide
from rcnn.goal import Goal
from rcnn.inference.predictor import SHOWN
from rcnn.report.words import counted
from rcnn.sample import Sample

FEW = 20
"""Objects: fewer are too few to measure by."""
CERTAIN = 0.05
"""A difference less probable than that by chance alone is called one."""
console = Console(highlight=False, markup=False, emoji=False)  # class names may hold brackets and colons


def show(result: Evaluation, split: str, seconds: float | None) -> None:
    """The numbers as tables."""
    pictures = counted(result.pictures, "picture")
    speed = "" if seconds is None else f", {seconds:.3f} s a picture"
    console.print(f"{result.protocol} protocol, split {split}: {pictures}{speed}")
    metrics = (f"{name} {_number(value)}" for name, value in result.metrics.items())
    console.print("\n".join(flowed(metrics, console.width)))
    columns = list(next(iter(result.per_class.values()), {}))
    rows = [(name, *(_number(numbers[c]) for c in columns)) for name, numbers in result.per_class.items()]
    show_table(console, ("class", *columns), rows)
    for warning in result.warnings:
        note(warning)


def show_study(result: Study, protocol: str, name: str, other: str | None) -> None:
    """Everything that was asked."""
    if result.protocols and protocol == "all":
        show_side_by_side(result.protocols, result.split)
        for warning in result.evaluation.warnings:
            note(warning)
    else:
        show(result.evaluation, result.split, result.predicted.seconds)
    for doubt in result.doubts:
        note(doubt)
    warn_of_chance(result.predicted.samples)
    if result.intervals:
        show_intervals(result.intervals)
    if result.paired:
        show_paired(result.paired, name, str(other))
    if result.analysis:
        show_analysis(result.analysis, result.blame)
    if result.goal and result.thresholds:
        show_thresholds(result.goal, result.thresholds, result.split)


def show_analysis(analysis: Analysis, blame: StageBlame | None) -> None:
    """What costs AP, and where missed objects were lost."""
    errors = analysis.errors
    console.print(f"where AP50 of {_number(errors.ap50)} is lost: what it would gain without each kind of error")
    rows = [(kind.kind, str(kind.count), f"+{_number(kind.dap50)}") for kind in errors.kinds]
    show_table(console, ("error", "count", "AP50"), rows)
    if blame:
        lost = f"{len(blame.missed)} of {counted(blame.objects, 'object')} not shown from {blame.score:g} on"
        console.print(f"{lost}; lost where")
        show_table(console, ("stage", "objects"), [(name, str(n)) for name, n in blame.counts.items() if n])


def show_side_by_side(result: SideBySide, split: str) -> None:
    """A row a variant, then why they differ."""
    console.print(f"every protocol, split {split}: {counted(result.pictures, 'picture')}")
    rows = [(v.name, _number(v.AP), _number(v.AP50), _number(v.AP75)) for v in result.variants]
    show_table(console, ("", "AP", "AP50", "AP75"), rows)
    for reason in result.reasons:
        console.print(f"- {reason}", soft_wrap=True)


def show_intervals(intervals: Mapping[str, Interval]) -> None:
    """A row a number."""
    console.print("95 % intervals over pictures: where the number of many such pictures lies")
    rows = [(_plain(name), _number(i.value), f"{_number(i.low)} to {_number(i.high)}") for name, i in intervals.items()]
    show_table(console, ("", "here", "interval"), rows)


def show_paired(pairs: Mapping[str, Paired], run: str, other: str) -> None:
    """A row a number, then the answer."""
    console.print(f"{other} less {run}, on the same pictures", soft_wrap=True)
    rows = [
        (_plain(name), _number(p.first), _number(p.second), f"{p.difference.value:+z.3f}", _ends(p), _chance(p.p))
        for name, p in pairs.items()
    ]
    first, second = Path(run).name, Path(other).name
    names = (first, second) if first != second else (run, other)
    show_table(console, ("", *names, "difference", "95 % interval", "p"), rows)
    console.print(verdict(next(iter(pairs.values())), names[1]), soft_wrap=True)


def verdict(pair: Paired, second: str) -> str:
    """Whether the second run is better, in a sentence."""
    if not pair.p < CERTAIN:
        return f"no difference can be told on these pictures (p = {_chance(pair.p)})"
    return f"{second} is {'better' if pair.difference.value > 0 else 'worse'} (p = {_chance(pair.p)})"


def show_thresholds(goal: Goal, chosen: Sequence[Threshold], split: str) -> None:
    """A row a class, and which cannot reach the goal."""
    console.print(f"thresholds for {goal} at IoU 0.5, on split {split}")
    columns = ("class", "threshold", "precision", "recall", "detections", "objects")
    numbers = ((t, (t.score, t.precision, t.recall)) for t in chosen)
    rows = [(t.name, *map(_number, values), str(t.detections), str(t.objects)) for t, values in numbers]
    show_table(console, columns, rows)
    for threshold in chosen:
        if not threshold.reached:
            best = threshold.precision if goal.quantity == "precision" else threshold.recall
            most = "nothing to tell it by" if best != best else f"at most {best:.3f}"  # noqa: PLR0124
            note(f"{threshold.name} does not reach {goal} ({most}): it is shown from {SHOWN:g} on")
        elif threshold.rests_on_few:
            count = counted(threshold.detections, "detection")
            note(f"{threshold.name}'s threshold rests on {count}: other pictures may give another one; use more")


def note(text: str) -> None:
    """A line that is no number."""
    console.print(f"note: {text}", soft_wrap=True)


def warn_of_chance(samples: Sequence[Sample]) -> None:
    """A note where so few objects count that one of them more or less moves the numbers."""
    objects = sum(not (d or c) for s in samples for d, c in zip(s.difficult, s.crowd, strict=True))  # type: ignore[arg-type]
    if objects < FEW:
        note(f"{counted(objects, 'object')} only: chance weighs much in these numbers")


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"  # noqa: PLR0124


def _chance(p: float) -> str:
    return f"{p:.0e}" if p < 0.001 else _number(p)


def _ends(pair: Paired) -> str:
    return f"{pair.difference.low:+z.3f} to {pair.difference.high:+z.3f}"


def _plain(name: str) -> str:
    return name.removeprefix("class: ")
