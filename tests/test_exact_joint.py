"""Exact joint training: the whole gradient, through the coordinates of the proposals, against finite differences."""

from dataclasses import replace

import pytest
import torch
from conftest import TINY, shape_data

from rcnn import build
from rcnn.data.loader import Batches
from rcnn.presets.overrides import override, preset
from rcnn.training.objectives import JointObjective

STEP = 1e-6


def objective_of(exact):
    """A tiny Faster R-CNN in double precision whose proposals are spread out, and a batch for it."""
    scheme = "exact-joint" if exact else "approximate-joint"
    settings = {"training.scheme": scheme, "model.rpn.nms": 1.0, "model.neck": "none", "input.short": 64}
    settings |= {"model.rpn.anchor_sizes": [[21, 30]], "model.head.samples": 24, "model.rpn.train_after": 24}
    config = override(preset("demo"), None, (), TINY | settings)
    torch.manual_seed(0)
    model, _ = build.detector(config, 2)
    for layer in (model.rpn.head.bbox_pred, model.head.bbox_pred, model.head.cls_score):
        torch.nn.init.normal_(layer.weight, std=0.3)
    (stage,) = build.stages(model, config)
    samples = shape_data(2, 0).splits["train"]
    item = next(Batches(samples, ("disc", "square"), build.preprocess(config.input), 2).epoch(1))
    batch = replace(item.batch, images=item.batch.images.double(), weight=item.batch.weight.double())
    targets = replace(item.targets, boxes=item.targets.boxes.double(), weight=item.targets.weight.double())
    return stage.objective.double(), batch, targets


def detector_loss(objective, batch, targets):
    losses = objective(batch, targets)
    return losses["score"] + losses["box"]


def total_loss(objective, batch, targets):
    return sum(objective(batch, targets).values())


@pytest.fixture
def in_double(monkeypatch):
    """The library computes losses in single precision; finite differences want more."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def place_of(objective):
    """Weights of the regression, those that move the proposals most first."""
    return objective.model.rpn.head.bbox_pred.weight


@pytest.mark.parametrize("loss", [total_loss, detector_loss], ids=["all losses", "the detector's losses"])
def test_the_gradient_is_that_of_finite_differences(loss, in_double):
    objective, batch, targets = objective_of(exact=True)
    assert isinstance(objective, JointObjective)
    weight = place_of(objective)
    loss(objective, batch, targets).backward()
    gradient, checked = weight.grad.flatten(), 0
    for index in gradient.abs().topk(12).indices.tolist():
        differences = [moved(objective, batch, targets, loss, index, step) for step in (STEP, STEP / 4)]
        if abs(differences[0] - differences[1]) > 1e-4 * abs(differences[1]) + 1e-7:
            continue  # a corner of the loss, a bilinear cell's or the border's, lies within the step
        assert float(gradient[index]) == pytest.approx(differences[1], rel=1e-3, abs=1e-6)
        checked += 1
    assert checked >= 6
    assert gradient.abs().max() > 1e-4


@torch.no_grad()
def moved(objective, batch, targets, loss, index, step):
    """The central difference; matches and mini-batches do not change over so small a step."""
    values, flat = [], place_of(objective).view(-1)
    for sign in (1, -1):
        flat[index] += sign * step
        values.append(float(loss(objective, batch, targets)))
        flat[index] -= sign * step
    return (values[0] - values[1]) / (2 * step)


def test_approximate_joint_sends_the_detectors_loss_to_no_weight_of_the_rpn():
    objective, batch, targets = objective_of(exact=False)
    objective = objective.float()
    batch = replace(batch, images=batch.images.float(), weight=batch.weight.float())
    targets = replace(targets, boxes=targets.boxes.float(), weight=targets.weight.float())
    detector_loss(objective, batch, targets).backward()
    assert all(parameter.grad is None for parameter in objective.model.rpn.parameters())
    assert all(parameter.grad is not None for parameter in objective.model.head.parameters())


def test_both_have_the_same_losses_and_differ_in_the_rpns_gradient():
    gradients, values = [], []
    for exact in (True, False):
        objective, batch, targets = objective_of(exact)
        objective = objective.float()
        batch = replace(batch, images=batch.images.float(), weight=batch.weight.float())
        targets = replace(targets, boxes=targets.boxes.float(), weight=targets.weight.float())
        losses = objective(batch, targets)
        sum(losses.values()).backward()
        values.append({name: float(value.detach()) for name, value in losses.items()})
        gradients.append(objective.model.rpn.head.bbox_pred.weight.grad)
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    assert (gradients[0] - gradients[1]).abs().max() > 1e-4
