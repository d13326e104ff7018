"""The arithmetic of benchmarks/family_speed.py: multiply-adds, regions, ratios, and what it keeps on disk."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rcnn.backbones import NETWORKS
from rcnn.compression.svd import LowRankLinear

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def speed(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return __import__("family_speed")


def row(speed, part, picture=0, gmac=100.0, seconds=2.0, rate=80.0, measured=10):
    return speed.Row(part, picture, gmac, seconds, rate, measured, "abc")


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Linear(7, 5), (3, 7), 3 * 7 * 5),
        (nn.Linear(7, 5, bias=False), (2, 3, 7), 2 * 3 * 7 * 5),
        (nn.Conv2d(3, 8, 3, padding=1), (2, 3, 6, 10), 2 * 6 * 10 * 8 * 3 * 9),
        (nn.Conv2d(4, 8, 3, stride=2, groups=2), (1, 4, 7, 9), 3 * 4 * 8 * 2 * 9),
        (nn.Conv2d(4, 6, (1, 3), dilation=2), (1, 4, 5, 9), 5 * 5 * 6 * 4 * 3),
        (LowRankLinear(7, 5, 2), (3, 7), 3 * 2 * (7 + 5)),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.MaxPool2d(2)), (1, 3, 4, 4), 16 * 4 * 3),
    ],
)
def test_multiply_adds_are_counted_layer_by_layer(speed, layer, shape, expected):
    with speed.counting(layer) as tally:
        layer(torch.zeros(shape))
    assert tally.total == expected


def test_a_layer_that_runs_twice_counts_twice_and_after_counting_no_more(speed):
    layer = nn.Linear(4, 4)
    with speed.counting(layer) as tally:
        layer(layer(torch.zeros(1, 4)))
    layer(torch.zeros(1, 4))
    assert tally.total == 32


def test_vgg16_has_the_multiply_adds_that_are_known_of_it(speed):
    with torch.device("meta"):
        network = NETWORKS["vgg16"](None)
        with speed.counting(network) as tally:
            network(torch.zeros(1, 3, 224, 224))
    assert tally.total / 1e9 == pytest.approx(15.347, abs=1e-3)


@pytest.mark.parametrize(("height", "width"), [(600, 1000), (40, 30), (10, 500)])
def test_regions_lie_in_the_picture_and_come_in_all_sizes(speed, height, width):
    boxes = speed.regions(500, height, width, seed=1)
    sides = boxes[:, 2:] - boxes[:, :2]
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= np.array([width, height]) + 1e-3).all()
    assert (sides >= np.minimum(speed.LEAST_SIDE, [width, height]) - 1e-3).all()
    assert sides[:, 0].max() > 0.8 * width
    assert np.array_equal(boxes, speed.regions(500, height, width, seed=1))


@pytest.mark.parametrize("part", ["rcnn", "fast", "spp1", "spp5", "svd"])
def test_every_part_is_vgg16_and_only_sppnet_chooses_its_own_size(speed, part):
    config = speed.configuration(part, 320)
    sides = {"spp1": 688, "spp5": 1200}
    assert config.model.backbone == "vgg16"
    assert config.input.short == sides.get(part, 320)
    assert config.model.image_scales == (speed.SCALES if part == "spp5" else ())
    assert config.model.head.ranks == (speed.RANKS if part == "svd" else ())


def test_the_quotient_is_the_measured_ratio_over_the_predicted_one(speed):
    rows = [
        row(speed, "fast", gmac=400, seconds=4),
        row(speed, "rcnn", gmac=32_000, seconds=240),
        row(speed, "fast", picture=1),
    ]
    found = speed.summaries(rows)
    assert list(found) == ["rcnn", "fast"]
    assert found["fast"].measured_ratio == 60
    assert found["fast"].predicted_ratio == 80
    assert found["fast"].quotient == 0.75
    assert speed.summaries(rows[:1])["fast"].quotient is None


def test_the_share_is_of_the_convolutions_rate_just_then(speed):
    assert row(speed, "fast", gmac=100, seconds=2, rate=80).share == 0.625


def test_a_report_goes_on_from_its_file(speed, tmp_path):
    path, settings = tmp_path / "speed.json", {"size": 600, "images": []}
    report = speed.Report(path, settings)
    report.layers = speed.Layers((10, 5), (2.0, 1.0))
    report.add(row(speed, "rcnn", measured=10))
    again = speed.Report(path, settings)
    assert again.layers == report.layers
    assert again.has("rcnn", 0, 10)
    assert not again.has("rcnn", 0, 20)
    assert not again.has("rcnn", 1, 10)
    again.add(row(speed, "rcnn", measured=20))
    assert [kept.measured for kept in speed.Report(path, settings).rows] == [20]


def test_a_report_of_other_settings_is_not_gone_on_with(speed, tmp_path):
    path = tmp_path / "speed.json"
    speed.Report(path, {"size": 600}).save()
    with pytest.raises(SystemExit, match="measured with size 600, not 480; pass another --json"):
        speed.Report(path, {"size": 480})
    path.write_text("{}", "utf-8")
    with pytest.raises(SystemExit, match="no report of this benchmark"):
        speed.Report(path, {"size": 600})


def test_the_table_says_that_rcnn_was_scaled(speed):
    text = speed.table([row(speed, "rcnn", measured=10), row(speed, "svd")], speed.Layers((1000, 500), (20.0, 9.6)))
    assert "regions that were measured, a picture: 10" in text
    assert "1,000 to 500 parameters, 20 to 10 ms" in text
