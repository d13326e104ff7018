"""Losses by hand, and what they are when there is nothing to learn."""

import math

import pytest
import torch

from rcnn.losses import box_loss, class_loss, mean_over, objectness_loss

ONES = torch.ones(1, 2)


def test_objectness_by_hand():
    logits = torch.tensor([[0.0, 2.0, -1.0]])
    loss = objectness_loss(logits, torch.tensor([[True, True, False]]), torch.tensor([[1.0, 0.5, 2.0]]))
    expected = [math.log(2), 0.5 * math.log(1 + math.exp(-2)), 2 * math.log(1 + math.exp(-1))]
    torch.testing.assert_close(loss, torch.tensor([expected]))


def test_class_loss_by_hand():
    logits = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]])
    loss = class_loss(logits, torch.tensor([[1, 0]]), torch.tensor([[1.0, 0.25]]))
    expected = [math.log(3), 0.25 * (math.log(math.exp(1) + math.exp(2) + math.exp(3)) - 1)]
    torch.testing.assert_close(loss, torch.tensor([expected]))


@pytest.mark.parametrize("beta", [1.0, 1 / 9])
def test_box_loss_is_square_near_and_straight_far(beta):
    near, far = beta / 2, beta * 3
    deltas = torch.tensor([[[near, 0.0, 0.0, 0.0], [far, -far, 0.0, 0.0]]])
    loss = box_loss(deltas, torch.zeros(1, 2, 4), torch.tensor([[1.0, 2.0]]), beta)
    torch.testing.assert_close(loss, torch.tensor([[near**2 / 2 / beta, 4 * (far - beta / 2)]]))


def test_box_loss_with_a_beta_of_zero_is_l1():
    loss = box_loss(torch.full((1, 1, 4), 3.0), torch.zeros(1, 1, 4), torch.ones(1, 1), 0.0)
    assert loss.item() == 12


def test_mean_over_counts_places_not_rows():
    assert mean_over(torch.tensor([3.0, 5.0, 0.0]), torch.tensor([1.0, 1.0, 0.0])).item() == 4


def test_mean_over_nothing_is_zero():
    assert mean_over(torch.zeros(2, 3), torch.zeros(2, 3)).item() == 0
    assert mean_over(torch.zeros(2, 0), torch.zeros(2, 0)).item() == 0


@pytest.mark.parametrize("places", [0, 5])
def test_nothing_to_learn_costs_nothing_and_has_a_gradient_of_zero(places):
    logits, deltas = (torch.randn(2, places, 4, requires_grad=True) for _ in range(2))
    scores = torch.randn(2, places, requires_grad=True)
    nothing = torch.zeros(2, places)
    losses = (
        objectness_loss(scores, nothing > 0, nothing),
        class_loss(logits, nothing.long(), nothing),
        box_loss(deltas, torch.zeros(2, places, 4), nothing, 1 / 9),
    )
    assert all(loss.shape == (2, places) for loss in losses)
    total = sum(mean_over(loss, nothing) for loss in losses)
    assert total.item() == 0
    for tensor in (scores, logits, deltas):
        assert not torch.autograd.grad(total, tensor, retain_graph=True)[0].any()


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = objectness_loss(logits, torch.tensor([[False, True]]), ONES).sum()
    loss = loss + class_loss(torch.stack((logits, -logits), dim=-1), torch.tensor([[1, 0]]), ONES).sum()
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_the_weight_of_one_place_changes_no_other():
    logits = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(0))
    labels, weight = torch.tensor([[1, 2, 3]]), torch.tensor([[1.0, 7.0, 1.0]])
    plain, weighted = class_loss(logits, labels, torch.ones(1, 3)), class_loss(logits, labels, weight)
    torch.testing.assert_close(weighted, plain * weight)
