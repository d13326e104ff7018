"""What `rcnn export` shows."""

from rich.console import Console

from rcnn.api.exporting import Exported
from rcnn.cli.tables import show_table

_console = Console(highlight=False, markup=False, emoji=False)


def show(done: Exported) -> None:
    """Print how near the file comes to the original, how fast it is, and what 8 bits cost."""
    near, seconds = done.nearness, done.seconds
    rows = [
        ("features", f"{near.features:.1e} of the largest"),
        ("proposals", f"{near.proposals:.1%} the same"),
        ("pooled features", f"{near.pooled:.1e} of the largest"),
        ("detections", f"{near.detections:.1%} the same ({near.found} in all)"),
    ]
    show_table(_console, ("stage", "difference to the original"), rows)
    original, exported = 1000 * seconds["original"], 1000 * seconds["exported"]
    quick = exported <= original
    ratio = f"{original / exported:.2f} times as fast" if quick else f"{exported / original:.2f} times as long"
    print(f"a picture takes {exported:.0f} ms, in the original {original:.0f} ms: {ratio}")
    if done.kept is not None:
        kept = done.kept
        print(f"AP {kept.full:.2f} in fp32, {kept.score:.2f} in 8 bits: {kept.lost:.2f} points lost")
        if kept.kept:
            print("what stays in floating point was chosen by these pictures: measure on others with rcnn evaluate")
        for part, cost in kept.costs.items():
            stays = "stays in floating point" if part in kept.kept else "8 bits"
            print(f"  {part}: costs {cost:.2f} points alone, {stays}")
    print(f"done: {done.path} holds the detector; next: rcnn predict {done.path} PICTURES --out FOLDER")


def tell(line: str) -> None:
    """Print what is being done."""
    print(line, flush=True)
