"""Detections for other tools: labels that are read back, and supervision's own class."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from rcnn.data import open_data
from rcnn.errors import ConfigError, DataError
from rcnn.inference.handing_on import to_supervision, write_detections
from rcnn.structures import Detections

FOUND = Detections(
    torch.tensor([[1.0, 2, 30, 20], [5, 5, 9, 25]]), torch.tensor([0.9, 0.5]), torch.tensor([2, 1]), ("cat", "dog")
)
NOTHING = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), ("cat", "dog"))


@pytest.mark.parametrize("format", ["coco", "voc", "yolo", "csv"])
def test_predictions_become_labels_that_are_read_back(format, tmp_path):
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file in files:
        Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(file)
    write_detections(dict(zip(files, (FOUND, NOTHING), strict=True)), tmp_path / "out", format)
    opened = open_data(tmp_path / "out")
    assert opened.findings == []
    assert set(opened.dataset.class_names) == {"cat", "dog"}
    samples = {sample.id.split(".")[0]: sample for part in opened.dataset.splits.values() for sample in part}
    np.testing.assert_allclose(samples["a"].boxes, FOUND.boxes.numpy(), atol=1e-3)
    assert (samples["a"].names, samples["b"].names) == (("dog", "cat"), ())


def test_detections_of_two_lists_of_classes_are_refused(tmp_path):
    other = Detections(FOUND.boxes, FOUND.scores, FOUND.labels, ("dog", "cat"))
    with pytest.raises(DataError, match="2 lists of classes"):
        write_detections({tmp_path / "a.png": FOUND, tmp_path / "b.png": other}, tmp_path / "out", "coco")


def test_supervision_gets_its_own_columns(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    there = to_supervision(FOUND)
    assert there.xyxy.shape == (2, 4)
    assert there.class_id.tolist() == [1, 0]
    assert there.data["class_name"] == ["dog", "cat"]
    assert there.confidence.tolist() == pytest.approx([0.9, 0.5])


def test_without_supervision_it_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ConfigError, match="pip install supervision"):
        to_supervision(FOUND)
