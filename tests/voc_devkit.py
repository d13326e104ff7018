"""A VOCdevkit small enough for tests: VOC2007 with trainval and test, VOC2012 with trainval; and its proposals."""

from pathlib import Path

import numpy as np
from conftest import COLOURS, shape_sample, write_voc

from rcnn.data import every_sample
from rcnn.data.voc import read_voc
from rcnn.proposals.files import ProposalTable, write_proposals
from rcnn.sample import DataSet

YEARS = {"VOC2007": {"trainval": 4, "test": 3}, "VOC2012": {"trainval": 2}}


def write_devkit(root: Path, years=("VOC2007", "VOC2012")) -> Path:
    """The folder that holds the years; VOC2007's first training picture has a difficult object."""
    for year in years:
        splits = {
            split: [shape_sample(f"{year[3:]}_{split}{i}") for i in range(count)]
            for split, count in YEARS[year].items()
        }
        write_voc(root / year, DataSet(splits, tuple(COLOURS)))
    first = root / "VOC2007" / "Annotations" / "2007_trainval0.xml"
    first.write_text(first.read_text().replace("<bndbox>", "<difficult>1</difficult><bndbox>", 1))
    return root


def write_regions(devkit: Path, file: Path, count: int = 12) -> Path:
    """True boxes, shaken, and boxes from anywhere as the proposals of all pictures of VOC2007."""
    rng = np.random.default_rng(0)
    boxes = {}
    for sample in every_sample(read_voc(devkit / "VOC2007").dataset):
        near = np.repeat(sample.boxes, 3, axis=0)
        near = near + rng.uniform(-3, 3, near.shape)
        corners = np.sort(rng.uniform(0, 64, (count, 2, 2)), axis=1).reshape(-1, 4)
        wide = corners + np.array([0, 0, 8, 8])
        boxes[sample.id] = np.clip(np.concatenate((near, wide)), 0, (80, 64, 80, 64)).astype(np.float32)
    scores = {key: np.linspace(1, 0.1, len(rows), dtype=np.float32) for key, rows in boxes.items()}
    write_proposals(file, ProposalTable("shaken", {}, boxes, scores))
    return file
