"""benchmarks/tiling.py: how pictures become a large one, and what of their truth counts in it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import shape_sample

from rcnn.sample import Sample
from rcnn.structures import Detections

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def tiling(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return __import__("tiling")


def test_pictures_fill_the_large_one_and_their_objects_lie_on_them(tiling):
    samples = [shape_sample("a"), shape_sample("b", objects=0), shape_sample("c", objects=3)]  # of 64 x 80
    pieces = list(tiling.laid(samples, (100, 200), lambda sample: sample.picture))
    assert [(p.left, p.top, *p.size) for p in pieces] == [
        *((0, 0, 64, 80), (80, 0, 64, 80), (160, 0, 64, 40)),
        *((0, 64, 36, 80), (80, 64, 36, 80), (160, 64, 36, 40)),
    ]
    whole = tiling.composed(pieces, (100, 200))
    assert len({p.sample.id for p in pieces}) == 6
    assert len(whole.boxes) == sum(len(p.sample.boxes) for p in pieces)
    at = iter(whole.boxes.astype(int).tolist())
    for piece in pieces:
        for x1, y1, x2, y2 in piece.sample.boxes.astype(int).tolist():
            left, top, right, bottom = next(at)
            assert np.array_equal(whole.picture[top:bottom, left:right], piece.sample.picture[y1:y2, x1:x2])


def test_an_object_of_which_the_edge_leaves_less_than_half_counts_nowhere(tiling):
    boxes = [[0, 0, 10, 10], [10, 0, 24, 10], [16, 0, 40, 10], [30, 0, 40, 10]]
    sample = Sample("a", np.zeros((20, 20, 3), np.uint8), np.array(boxes, np.float32), ("x",) * 4)
    kept = tiling.cut(sample)
    assert kept.boxes.tolist() == [[0, 0, 10, 10], [10, 0, 20, 10], [16, 0, 20, 10]]
    assert kept.difficult.tolist() == [False, False, True]


def test_the_table_counts_more_than_a_hundred_detections_of_a_picture(tiling):
    corners = np.stack(np.meshgrid(np.arange(0, 300, 20), np.arange(0, 200, 20)), -1).reshape(-1, 2)
    boxes = np.concatenate((corners, corners + 10), axis=1).astype(np.float32)
    sample = Sample("a", np.zeros((200, 300, 3), np.uint8), boxes, ("x",) * 150)
    scores = torch.linspace(1, 0.01, 150)
    found = Detections(torch.from_numpy(boxes), scores, torch.ones(150, dtype=torch.int64), ("x",))
    words = tiling.row("all", [sample], [found], ("x",), 0.5).split()
    recall = float((scores >= 0.5).float().mean())
    assert words == ["all", "150", "150", f"{recall:.3f}", "1.000", "1.000", "1.000"]
