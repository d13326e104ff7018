"""What is found in a large picture, in tiles and at once, beside what is found in the pictures that it is composed of.

usage: python benchmarks/tiling.py RUN DATA [--split test] [--tile SIDE] [--overlap 0.2] [--score 0.5]
                                   [--size 4000 3000] [--weights best] [--draw FILE]

Pictures are laid in rows, at their own size, until the large one is full; where they are used up they begin again. Its
right and bottom edge cut the last ones. Alone a picture is looked at as it lies there: cut too, with the same objects.
An object of which an edge leaves less than half counts nowhere. Tiles are as large as the short side of the first
picture unless told otherwise, so that objects have the size that they have alone.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from rcnn.analysis import count, match
from rcnn.api import load_named, read_data
from rcnn.data import resolve, samples_of
from rcnn.evaluation import evaluate
from rcnn.inference.predictor import Detector
from rcnn.inference.tiling import predict_tiled
from rcnn.inference.ways import Tiles
from rcnn.sample import Sample
from rcnn.structures import Detections

Pixels = UInt8[np.ndarray, "H W C"]
GRAY, KEPT, ALL = 114, 0.5, 10**6


@dataclass(frozen=True)
class Piece:
    """A picture as it lies in the large one, and where."""

    sample: Sample
    left: int
    top: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        assert isinstance(self.sample.picture, np.ndarray)
        return self.sample.picture.shape[0], self.sample.picture.shape[1]


def laid(samples: Sequence[Sample], size: tuple[int, int], read: Callable[[Sample], Pixels]) -> Iterator[Piece]:
    """Pictures row by row until a picture of that height and width is full."""
    left = top = tallest = 0
    for number, sample in enumerate(cycle(samples)):
        if left >= size[1]:
            left, top, tallest = 0, top + tallest, 0
        if top >= size[0]:
            return
        picture = read(sample)[: size[0] - top, : size[1] - left]
        yield Piece(cut(replace(sample, id=f"{number} {sample.id}", coco_id=None, picture=picture)), left, top)
        left, tallest = left + picture.shape[1], max(tallest, picture.shape[0])


def cut(sample: Sample) -> Sample:
    """The sample whose boxes end where its picture does; those that lose more than half are difficult, or gone."""
    assert isinstance(sample.picture, np.ndarray)
    height, width = sample.picture.shape[:2]
    boxes = sample.boxes.clip(0, np.array([width, height] * 2, np.float32))
    areas, before = ((box[:, 2:] - box[:, :2]).prod(axis=1) for box in (boxes, sample.boxes))
    difficult = sample.difficult | (areas < KEPT * before)
    return replace(sample, boxes=boxes, difficult=difficult, area=areas).keep(areas > 0)


def composed(pieces: Sequence[Piece], size: tuple[int, int]) -> Sample:
    """The large picture with the objects of all pieces where they lie now."""
    canvas = np.full((*size, 3), GRAY, np.uint8)
    moved = []
    for piece in pieces:
        height, width = piece.size
        canvas[piece.top : piece.top + height, piece.left : piece.left + width] = np.asarray(piece.sample.picture)
        shift = np.array([piece.left, piece.top] * 2, np.float32)
        moved.append(replace(piece.sample, boxes=piece.sample.boxes + shift))
    return Sample("composed", canvas).with_objects(moved)


def row(name: str, samples: Sequence[Sample], found: Sequence[Detections], names: tuple[str, ...], score: float) -> str:
    """A line of the table; AP at IoU 0.5 is VOC's, which takes any number of detections of a picture."""
    counted = count(match(samples, found, names, max_detections=ALL), score)
    whole = counted.of()
    precision = whole.found_at_score / max(1, counted.shown)
    ap = evaluate(samples, found, names, "voc").metrics["mAP"]
    numbers = f"{whole.recall_at_score:>8.3f}{precision:>11.3f}{whole.recall:>18.3f}{ap:>8.3f}"
    return f"{name:<14}{whole.objects:>8}{counted.detections:>12}{numbers}"


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run")
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--size", type=int, nargs=2, default=(4000, 3000), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--tile", type=int)
    parser.add_argument("--overlap", type=float, default=Tiles.overlap)
    parser.add_argument("--score", type=float, default=0.5)
    parser.add_argument("--weights", default="best")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--draw", type=Path, help="write the large picture here")
    return parser.parse_args()


def measure(detector: Detector, pieces: Sequence[Piece], whole: Sample, tiles: Tiles, score: float) -> None:
    """Look in the three ways, and say what each finds."""
    alone = [piece.sample for piece in pieces]
    ways: dict[str, tuple[Sequence[Sample], Callable[[], Iterator[Detections]]]] = {
        "pieces alone": (alone, lambda: detector.predict(alone)),
        "tiled": ([whole], lambda: predict_tiled(detector, [whole.picture], tiles)),
        "plain": ([whole], lambda: detector.predict([whole])),
    }
    print(f"{'':<14}{'objects':>8}{'detections':>12}{'recall':>8}{'precision':>11}{'recall, any score':>18}{'AP50':>8}")
    for name, (samples, look) in ways.items():
        began = time.perf_counter()
        found = list(look())
        line = row(name, samples, found, detector.class_names, score)
        print(f"{line}   {time.perf_counter() - began:.0f} s", flush=True)


def main() -> None:
    """Compose, look and print."""
    given = arguments()
    width, height = given.size
    detector = load_named(given.run, given.weights, given.device, "fp32")
    samples = samples_of(read_data(given.data, "drop", max_pixels=detector.max_pixels), given.split)
    pieces = list(laid(samples, (height, width), lambda sample: resolve(sample.picture, detector.max_pixels, 3)))
    whole, tiles = composed(pieces, (height, width)), Tiles(given.tile or min(pieces[0].size), given.overlap)
    if given.draw:
        Image.fromarray(np.asarray(whole.picture)).save(given.draw)
    print(f"{len(pieces)} pieces on {width} x {height}; {len(tiles.windows((height, width)))} tiles of {tiles.side}")
    print(f"recall and precision at IoU 0.5 and score {given.score:g}; {torch.get_num_threads()} threads")
    measure(detector, pieces, whole, tiles, given.score)


if __name__ == "__main__":
    main()
