"""What `rcnn check` prints: findings by kind, and tables."""

import shlex
from collections.abc import Sequence
from itertools import groupby

from rich.console import Console

from rcnn.api.checking.audit import Audit, Recall
from rcnn.api.checking.fixing import FILE, Fixed
from rcnn.api.checking.kinds import MEANING
from rcnn.api.checking.summary import Quantiles, Summary
from rcnn.cli.tables import flowed, show_table
from rcnn.data import Finding
from rcnn.report.words import counted

BAR = 40
"""Characters of the longest bar."""
_LEVELS = {
    "error": ("red", "training refuses the data, or goes without them (--bad-boxes drop)"),
    "warning": ("yellow", "training goes on"),
}
_BLOCKS = " ▏▎▍▌▋▊▉█"


def show_findings(console: Console, findings: Sequence[Finding], lines: int | None) -> None:
    """Errors, then warnings; of each kind at most so many `lines`."""
    if not findings:
        console.print("nothing is wrong", style="green")
    for level, of_level in groupby(findings, key=lambda finding: finding.level):
        group = list(of_level)
        style, consequence = _LEVELS[level]
        console.print(f"\n{counted(len(group), level)}: {consequence}", style=f"bold {style}", soft_wrap=True)
        for kind, of_kind in groupby(group, key=lambda finding: finding.kind):
            same = list(of_kind)
            console.print(f"  {kind} ({len(same)}): {MEANING.get(kind, '')}", style=style, soft_wrap=True)
            for finding in same[:lines]:
                console.print(f"    {finding}", soft_wrap=True)
            if lines is not None and len(same) > lines:
                console.print(f"    ... and {len(same) - lines} more; --all prints them", style="dim")


def show_summary(console: Console, summary: Summary, most: int | None) -> None:
    """Pictures and boxes by split and class, then the shapes of boxes."""
    parts = {**summary.splits, "all": summary.whole} if len(summary.splits) > 1 else dict(summary.splits)
    whole = summary.whole
    rows = [("pictures", *(f"{part.pictures:,}" for part in parts.values()))]
    rows += [("without objects", *(f"{part.empty:,}" for part in parts.values()))] if whole.empty else []
    rows += [("boxes", *(f"{part.boxes:,}" for part in parts.values()))]
    for flag in ("crowd", "difficult"):
        if getattr(whole, flag):
            rows.append((f"of them {flag}", *(f"{getattr(part, flag):,}" for part in parts.values())))
    ranked = sorted(whole.classes, key=lambda name: (-whole.classes[name], name))
    rows += [(f"  {name}", *(f"{part.classes[name]:,}" for part in parts.values())) for name in ranked[:most]]
    console.print()
    show_table(console, ("", *parts), rows, right=True)
    _more(console, len(ranked), most, "classes")
    _show_shapes(console, summary)


def _show_shapes(console: Console, summary: Summary) -> None:
    if not summary.sides:
        return
    console.print(f"\nboxes once pictures are resized to {summary.short}, at most {summary.long} pixels", style="bold")
    heads = ("", "least", "5 %", "25 %", "median", "75 %", "95 %", "most")
    rows = [_quantile_row("side (root of the area)", summary.sides, "{:,.0f}")]
    rows += [_quantile_row("height / width", summary.ratios, "{:.2f}")]
    rows += [_quantile_row("boxes a picture", summary.per_picture, "{:,.0f}")]
    show_table(console, heads, rows, right=True)
    console.print()
    most = max(summary.octaves.values())
    for side, count in summary.octaves.items():
        first = "   under" if side == 8 else f"{side // 2:>5,} to"
        console.print(f"  {first} {side:>5,}  {_bar(count / most)} {count:,}", soft_wrap=True)
    total = max(1, sum(summary.sizes.values()))
    parts = (f"{name} {count:,} ({count / total:.0%})" for name, count in summary.sizes.items())
    console.print("\n".join(flowed(("by COCO's bounds:", *parts), console.width)))


def show_anchors(console: Console, audit: Audit, name: str, most: int | None) -> None:
    """The part of objects that anchors reach, beside what better ones would."""
    better = audit.proposed
    title = f"anchors of {name}, before any training: the part of objects that the best one overlaps by such an IoU"
    console.print(f"\n{title}", style="bold", soft_wrap=True)
    marks = (f"{audit.positive_iou:g}", "0.5")
    heads = ["", "objects", *(f"IoU {mark}" for mark in marks), "mean IoU"]
    heads += [f"better {mark}" for mark in marks] if better else []
    rows = [_recall_row("all", audit.all, better.all if better else None)]
    rows += [_recall_row(f"  {key}", one, better.sizes[key] if better else None) for key, one in audit.sizes.items()]
    ranked = sorted(audit.classes, key=lambda key: audit.classes[key].half) if len(audit.classes) > 1 else []
    rows += [
        _recall_row(f"  {key}", audit.classes[key], better.classes[key] if better else None) for key in ranked[:most]
    ]
    show_table(console, heads, rows, right=True)
    _more(console, len(ranked), most, "classes, which are reached better")
    if better:
        words = " ".join(f"--set {shlex.quote(setting)}" for setting in better.settings)
        told = (
            "better anchors, of the same number, reach more of all objects, though of a single row they may reach less"
        )
        console.print(f"{told}:\n  {words}", soft_wrap=True)


def show_fixed(console: Console, fixed: Fixed, lines: int) -> None:
    """Where the repaired copy is, and what could not be repaired."""
    out, left = fixed.written.out, counted(len(fixed.open), "warning")
    holds = f"{counted(fixed.written.pictures, 'picture')}, {counted(fixed.written.objects, 'box', 'boxes')}"
    console.print(f"\n{out}: {holds}; what was done is in {out / FILE}", style="bold", soft_wrap=True)
    told = f"{len(fixed.repairs)} mended, {len(fixed.lost)} left out because nothing can mend them"
    console.print(f"  {told}, {left} for you to judge", soft_wrap=True)
    for repair in fixed.lost[:lines]:
        console.print(f"    {repair.action}: {repair.finding}", soft_wrap=True)
    if len(fixed.lost) > lines:
        console.print(f"    ... and {len(fixed.lost) - lines} more", style="dim")
    for note in fixed.written.notes:
        console.print(f"  note: {note}", soft_wrap=True)


def _recall_row(name: str, now: Recall, then: Recall | None) -> tuple[str, ...]:
    row = (name, f"{now.objects:,}", f"{now.positive:.3f}", f"{now.half:.3f}", f"{now.mean_iou:.3f}")
    return (*row, f"{then.positive:.3f}", f"{then.half:.3f}") if then else row


def _quantile_row(name: str, values: Quantiles, form: str) -> tuple[str, ...]:
    return (name, *(form.format(value) for value in values.values()))


def _bar(part: float) -> str:
    """A bar of eighths of characters; what is not nothing is to be seen."""
    eighths = max(round(part * BAR * 8), int(part > 0))
    return "█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()


def _more(console: Console, count: int, most: int | None, what: str) -> None:
    if most is not None and count > most:
        console.print(f"... and {count - most} more {what}; --all prints them", style="dim")
