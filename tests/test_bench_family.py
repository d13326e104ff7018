"""`rcnn bench family`: multiply-adds, regions, what is compared before it is timed, and what the rows say together."""

import numpy as np
import pytest
import torch
from conftest import tiny_config
from torch import nn

from rcnn.backbones import NETWORKS
from rcnn.bench import family
from rcnn.bench.family import detector_of, layers_case, method_case, regions
from rcnn.bench.harness import Effort, Row, race
from rcnn.bench.multiply_adds import counting, multiply_adds
from rcnn.bench.pictures import photo
from rcnn.compression.svd import LowRankLinear
from rcnn.heads.box_head import BoxHead
from rcnn.presets.overrides import override

CPU = torch.device("cpu")


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
def test_multiply_adds_are_counted_layer_by_layer(layer, shape, expected):
    x = torch.zeros(shape)
    with counting(layer) as tally:
        layer(x)
    assert tally.total == multiply_adds(layer, lambda: layer(x)) == expected


def test_a_layer_that_runs_twice_counts_twice_and_after_counting_no_more():
    layer = nn.Linear(4, 4)
    with counting(layer) as tally:
        layer(layer(torch.zeros(1, 4)))
    layer(torch.zeros(1, 4))
    assert tally.total == 32


def test_vgg16_has_the_multiply_adds_that_are_known_of_it():
    with torch.device("meta"):
        network = NETWORKS["vgg16"](None)
        with counting(network) as tally:
            network(torch.zeros(1, 3, 224, 224))
    assert tally.total / 1e9 == pytest.approx(15.347, abs=1e-3)


@pytest.mark.parametrize(("height", "width"), [(600, 1000), (40, 30), (10, 500)])
def test_regions_lie_in_the_picture_and_come_in_all_sizes(height, width):
    boxes = regions(500, height, width, seed=1)
    sides = boxes[:, 2:] - boxes[:, :2]
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= np.array([width, height]) + 1e-3).all()
    assert (sides >= np.minimum(family.LEAST_SIDE, [width, height]) - 1e-3).all()
    assert sides[:, 0].max() > 0.8 * width
    assert np.array_equal(boxes, regions(500, height, width, seed=1))


@pytest.mark.parametrize("name", family.METHODS)
def test_every_method_is_on_vgg16_and_only_sppnet_chooses_its_own_size(name):
    config = family.configuration(name)
    sides = {"SPPnet, 1 scale": 688, "SPPnet, 5 scales": 1200}
    assert config.model.backbone == "vgg16"
    assert config.input.short == sides.get(name, 600)
    assert config.model.image_scales == (family.SCALES if name == "SPPnet, 5 scales" else ())
    assert config.model.head.ranks == (family.RANKS if name == "Fast R-CNN, SVD" else ())


@pytest.fixture
def tiny():
    return detector_of(override(tiny_config(), None, ["model.method=fast-rcnn"], {}), CPU)


def test_a_method_is_timed_beside_the_convolutions_with_what_both_multiply(tiny):
    case = method_case("Fast R-CNN", tiny, tiny, photo(64, 96, 0), regions(40, 64, 96, 0))
    own, shared = case.facts["GMAC"], case.facts["GMAC in the convolutions"]
    assert own > shared > 0
    assert case.facts["regions"] == 40
    assert tiny.proposer.most == family.REGIONS, "the detector that was given stays as it is"
    rows = race(case, Effort(rounds=1), CPU)
    assert rows[1].wanted == pytest.approx(family.SHARE * shared / own)
    assert "by halves" in rows[0].agreement


def test_a_region_that_others_change_is_not_timed(tiny, monkeypatch):
    case = method_case("Fast R-CNN", tiny, tiny, photo(64, 96, 0), regions(40, 64, 96, 0))
    plain = tiny.model.head.predict
    monkeypatch.setattr(tiny.model.head, "predict", lambda x: (plain(x)[0] + len(x), plain(x)[1]))
    with pytest.raises(AssertionError, match="by halves"):
        case.check()


def test_whole_layers_compute_what_truncated_ones_do_before_both_are_timed():
    whole, truncated = BoxHead(3, 49, 2, (16, 8)), BoxHead(3, 49, 2, (16, 8))
    truncated.layers.update({"fc6": LowRankLinear(147, 16, 4), "fc7": LowRankLinear(16, 8, 2)})
    case = layers_case(whole, truncated, 20, CPU)
    assert case.facts == {"regions": 20, "parameters": 2504, "left": 724}
    assert float(case.check()) < 1e-5
    with torch.no_grad():
        truncated.layers["fc7"].second.weight.add_(1)
    with pytest.raises(AssertionError, match="vectors"):
        case.check()


def row(way, gmac, seconds, regions=2000, ratio=0.2):
    facts = {"regions": regions, "GMAC": gmac, "GMAC in the convolutions": 100.0}
    return Row(f"family, {way}", way, seconds, seconds, seconds, ratio, ratio, ratio, None, 1, "", facts)


def test_notes_say_the_share_of_the_rate_and_hold_measured_ratios_beside_predicted_ones():
    slow, fast = row("R-CNN", 320.0, 2.4, regions=20, ratio=0.25), row("Fast R-CNN", 400.0, 4.0)
    first, second = family.notes([row("VGG16's convolutions", 400.0, 0.8), slow, fast])
    assert first == "R-CNN: 32,000.0 GMAC and 240.00 s for 2,000 regions, 0.80 of the convolutions' rate."
    assert second == (
        "Fast R-CNN: 400.0 GMAC and 4.00 s for 2,000 regions, 0.80 of the convolutions' rate; "
        "R-CNN takes 60.0 times as long, by its multiply-adds 80.0: 0.75 of it."
    )
    assert family.notes([fast]) == [f"{second.partition(';')[0]}."]
