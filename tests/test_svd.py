"""Truncated SVD of fully connected layers: its arithmetic, and a head before and after."""

import pytest
import torch
from torch import nn

from rcnn.compression.svd import (
    LowRankLinear,
    decompose,
    parameters,
    paying_rank,
    shape_head,
    truncate,
    truncate_head,
)
from rcnn.errors import ConfigError
from rcnn.heads.box_head import BoxHead

CHANNELS, CELLS = 6, 9


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Linear(40, 24)


@pytest.fixture
def head():
    torch.manual_seed(0)
    return BoxHead(CHANNELS, CELLS, 3, (20, 12))


def pooled(regions=7):
    return torch.randn(regions, CHANNELS, 3, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("sides", [(40, 24), (24, 40), (16, 16)])
def test_full_rank_computes_the_same(sides):
    torch.manual_seed(0)
    layer, x = nn.Linear(*sides), torch.randn(5, sides[0])
    torch.testing.assert_close(truncate(layer, min(sides))(x), layer(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("rank", [1, 5, 23])
def test_a_truncated_layer_is_the_best_approximation_of_its_rank(layer, rank):
    low = truncate(layer, rank)
    error = (layer.weight - low.second.weight @ low.first.weight).double()
    tail = torch.linalg.svdvals(layer.weight.double())[rank:]
    torch.testing.assert_close(error.square().sum().sqrt(), tail.square().sum().sqrt(), atol=1e-5, rtol=0)
    assert torch.linalg.matrix_rank(low.second.weight @ low.first.weight) == rank


def test_the_first_layer_holds_the_singular_values_and_the_second_the_bias(layer):
    low = truncate(layer, 8)
    torch.testing.assert_close(low.first.weight.norm(dim=1), torch.linalg.svdvals(layer.weight)[:8])
    torch.testing.assert_close(low.second.weight.T @ low.second.weight, torch.eye(8), atol=1e-5, rtol=0)
    assert low.first.bias is None
    assert torch.equal(low.second.bias, layer.bias)


def test_of_u_times_v_weights_t_times_u_plus_v_are_left():
    fc6, fc7 = LowRankLinear(25088, 4096, 1024, "meta"), LowRankLinear(4096, 4096, 256, "meta")
    assert parameters(fc6) == 1024 * (4096 + 25088) + 4096
    assert parameters(fc7) == 256 * (4096 + 4096) + 4096


@pytest.mark.parametrize(("inputs", "outputs"), [(40, 24), (16, 16), (25088, 4096), (3, 1)])
def test_the_paying_rank_is_the_last_that_saves_parameters(inputs, outputs):
    layer = nn.Linear(inputs, outputs, device="meta")
    rank = paying_rank(layer)
    assert rank * (inputs + outputs) < inputs * outputs <= (rank + 1) * (inputs + outputs)


def test_energy_is_the_share_of_the_squared_weights_that_is_kept(layer):
    part = decompose(layer)
    low = part.truncated(6)
    kept = (low.second.weight @ low.first.weight).norm() ** 2 / layer.weight.norm() ** 2
    assert part.energy(6) == pytest.approx(kept.item(), abs=1e-5)
    assert part.energy(24) == pytest.approx(1)


def test_a_head_at_full_rank_scores_as_before(head):
    before = head(pooled())
    truncate_head(head, {"fc6": 20, "fc7": 12})
    for now, then in zip(head(pooled()), before, strict=True):
        torch.testing.assert_close(now, then, atol=1e-5, rtol=0)


def test_a_truncated_head_changes_in_the_named_layers_alone(head):
    fc6, fc7 = head.layers["fc6"], head.layers["fc7"]
    parts = truncate_head(head, {"fc7": 4})
    assert list(head.layers) == ["fc6", "fc7"]
    assert head.layers["fc6"] is fc6
    assert parts["fc7"].layer is fc7
    assert head.layers["fc7"].rank == 4


def test_a_shaped_head_takes_the_weights_of_a_truncated_one(head):
    truncate_head(head, {"fc7": 4})
    empty = BoxHead(CHANNELS, CELLS, 3, (20, 12))
    shape_head(empty, (0, 4))
    empty.load_state_dict(head.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(empty(pooled()), head(pooled()), strict=True))


def test_a_head_keeps_its_form_without_ranks(head):
    names = list(head.state_dict())
    shape_head(head, ())
    shape_head(head, (0,))
    assert list(head.state_dict()) == names


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        ({"fc8": 4}, "fc8: the head has no fully connected layer of that name; it has fc6, fc7"),
        ({"cls_score": 2}, "it has fc6, fc7"),
        ({"fc7": 13}, "fc7: rank 13 of a layer of 20 x 12; give 1 to 12"),
        ({"fc6": 8, "fc7": 0}, "fc7: rank 0 of a layer of 20 x 12; give 1 to 12"),
    ],
)
def test_wrong_ranks_are_refused_and_the_head_stays_whole(head, ranks, message):
    with pytest.raises(ConfigError, match=message):
        truncate_head(head, ranks)
    assert all(isinstance(layer, nn.Linear) for layer in head.layers.values())


def test_a_layer_is_truncated_once(head):
    truncate_head(head, {"fc6": 5})
    with pytest.raises(ConfigError, match="fc6: truncated to rank 5 already"):
        truncate_head(head, {"fc6": 3})


def test_a_head_without_fully_connected_layers_says_so():
    with pytest.raises(ConfigError, match="it has none at all"):
        truncate_head(BoxHead(CHANNELS, CELLS, 3, ()), {"fc6": 3})


@pytest.mark.parametrize(("ranks", "message"), [((4, 4, 4), "3 ranks"), ((0, 99), "model.head.ranks: fc7: rank 99")])
def test_settings_that_fit_no_head_are_refused(head, ranks, message):
    with pytest.raises(ConfigError, match=message):
        shape_head(head, ranks)
