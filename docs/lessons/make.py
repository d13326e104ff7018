"""Draw the figures of the lessons and write the numbers into their pages.

    python docs/lessons/make.py                    # all; the first time it trains for some minutes
    python docs/lessons/make.py --only gradient    # one figure
    python docs/lessons/make.py --train-again      # though nothing has changed

What was trained is kept in docs/lessons/.cache until the library changes. On a page, all between
`<!-- begin:NAME -->` and `<!-- end:NAME -->` is written here: figure NAME, its caption and its table. The rest is
written by hand.
"""

import argparse
import io
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from drawn import anchors, pooling, proposals, speed, training
from drawn.drawing import Drawn
from drawn.lab import Lab, Scale, open_lab
from matplotlib.figure import Figure
from PIL import Image

from rcnn.runs import write_bytes, write_text

HERE = Path(__file__).parent
FIGURES: dict[str, Callable[[Lab], Drawn]] = {
    "crops": pooling.crops,
    "pyramid": pooling.pyramid,
    "pooling": pooling.pooling,
    "region_batch": proposals.region_batch,
    "anchors": anchors.anchors,
    "labels": proposals.labels,
    "anchor_batch": proposals.anchor_batch,
    "suppression": proposals.suppression,
    "count": anchors.count,
    "backbones": speed.backbones,
    "references": anchors.references,
    "grid": pooling.grid,
    "gradient": pooling.gradient,
    "end_to_end": training.end_to_end,
    "zero_score": proposals.zero_score,
    "four_steps": training.four_steps,
    "optimizers": training.optimizers,
    "phases": speed.phases,
}
"""Name to what draws it, in the order of the course."""
TINY = Scale(train=8, test=6, rpn_epochs=1, epochs=1)


def write(name: str, drawn: Drawn, folder: Path) -> None:
    """Put a figure into its file and its block into the page that has room for it."""
    write_bytes(folder / "figures" / f"{name}.png", png(drawn.figure))
    block = f"![{name}](figures/{name}.png)\n\n*{drawn.caption}*\n"
    text = "\n".join(filter(None, (block, drawn.table and f"{drawn.table}\n")))
    for page in sorted(folder.glob("*.md")):
        old = page.read_text("utf-8")
        new = between(name).sub(lambda match: f"{match[1]}\n{text}{match[2]}", old)
        if new != old:
            write_text(page, new)


def between(name: str) -> re.Pattern[str]:
    """What finds a block of a page with its two marks."""
    return re.compile(rf"(<!-- begin:{name} -->).*?(<!-- end:{name} -->)", re.DOTALL)


def png(figure: Figure) -> bytes:
    """A drawing as a PNG file of at most 128 colours."""
    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=110, bbox_inches="tight", pad_inches=0.06)
    image = Image.open(raw).convert("RGB").quantize(128, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    image.save(small, format="png", optimize=True)
    return small.getvalue()


def main(arguments: Sequence[str]) -> None:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(description="Draw the lessons' figures and write their numbers into the pages.")
    parser.add_argument("--only", action="append", choices=FIGURES, help="this figure alone; may be repeated")
    parser.add_argument("--out", type=Path, help="write the pages and figures into this folder instead")
    parser.add_argument("--untrained", action="store_true", help="random weights and few scenes, to try things out")
    parser.add_argument("--train-again", action="store_true", help="do not use what was trained before")
    given = parser.parse_args(arguments)
    if given.untrained and given.out is None:
        parser.error("--untrained: give --out too; the pages show a trained network")
    folder = given.out or HERE
    for page in HERE.glob("*.md") if given.out else ():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(page, folder)
    (folder / "figures").mkdir(exist_ok=True)
    torch.set_num_threads(1)
    cache = HERE / ".cache"
    if given.train_again:
        shutil.rmtree(cache, ignore_errors=True)
    lab = open_lab(None, TINY) if given.untrained else open_lab(cache, Scale())
    for name in given.only or FIGURES:
        began = time.perf_counter()
        write(name, FIGURES[name](lab), folder)
        print(f"{name}: {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
