"""Losses and choices of regions by setting, against torchvision, loops over numbers, and finite differences."""

import math
from dataclasses import replace

import pytest
import torch
from oracles import boxes_in, loop_iou
from torch._subclasses import FakeTensorMode
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from rcnn import build
from rcnn.boxes import encode
from rcnn.build.losses import class_loss as chosen_class_loss
from rcnn.config import LossSettings
from rcnn.errors import ConfigError
from rcnn.losses import FocalClasses, FocalObjectness, WeightedClasses, class_loss, giou_loss, objectness_loss
from rcnn.matching import Sampled, match
from rcnn.presets.modern import demo
from rcnn.presets.overrides import override
from rcnn.structures import Targets
from rcnn.training.sampling import Candidates, Hardest, Sampling

VARIANTS = {
    "focal": {"objectness": "focal", "classes": "focal"},
    "giou": {"proposals": "giou", "boxes": "giou"},
    "class weights": {"class_weights": {"b": 3.0}},
    "ohem": {"regions": "ohem"},
    "all": {"objectness": "focal", "classes": "focal", "boxes": "giou", "class_weights": {"a": 2.0}, "regions": "ohem"},
}
CLASSES = ("a", "b", "c")


def drawn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.9])
def test_focal_objectness_is_torchvisions(alpha):
    logits, positive = drawn(2, 7), drawn(2, 7, seed=1) > 0
    expected = sigmoid_focal_loss(logits, positive.float(), alpha or -1, 2.0)
    torch.testing.assert_close(FocalObjectness(2.0, alpha)(logits, positive, torch.full((2, 7), 0.5)), 0.5 * expected)


def loop_focal(logits, label, gamma, alpha):
    total = sum(math.exp(value) for value in logits)
    share = math.exp(logits[label]) / total
    factor = 1.0 if not alpha else alpha if label else 1 - alpha
    return -factor * (1 - share) ** gamma * math.log(share)


@pytest.mark.parametrize(("gamma", "alpha"), [(1.0, 0.0), (2.0, 0.25), (3.5, 0.75)])
def test_focal_classes_by_loops(gamma, alpha):
    logits, labels = drawn(2, 5, 4), torch.tensor([[0, 1, 2, 3, 0], [3, 3, 0, 1, 2]])
    weight = torch.rand(2, 5, generator=torch.Generator().manual_seed(0))
    rows = zip(logits.flatten(0, 1).tolist(), labels.flatten().tolist(), weight.flatten().tolist(), strict=True)
    expected = [w * loop_focal(row, label, gamma, alpha) for row, label, w in rows]
    found = FocalClasses(gamma, alpha)(logits, labels, weight)
    torch.testing.assert_close(found.flatten(), torch.tensor(expected))


def test_focal_of_two_classes_is_focal_of_one_logit():
    logit, positive, ones = drawn(1, 9), drawn(1, 9, seed=1) > 0, torch.ones(1, 9)
    both = torch.stack((torch.zeros(1, 9), logit), dim=-1)
    torch.testing.assert_close(FocalClasses()(both, positive.long(), ones), FocalObjectness()(logit, positive, ones))


def test_what_is_nearly_right_costs_far_less_under_focal():
    sure, unsure = torch.tensor([[[0.0, 6.0]]]), torch.tensor([[[0.0, -1.0]]])
    label, one = torch.ones(1, 1, dtype=torch.int64), torch.ones(1, 1)
    ratio = [float(loss(unsure, label, one) / loss(sure, label, one)) for loss in (class_loss, FocalClasses(2.0, 0.0))]
    assert ratio[1] > 1000 * ratio[0]


def test_class_weights_are_torchs():
    logits, labels = drawn(2, 5, 4), torch.tensor([[0, 1, 2, 3, 0], [3, 3, 0, 1, 2]])
    by_label = torch.tensor([1.0, 2.0, 0.5, 4.0])
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), by_label, reduction="none")
    found = WeightedClasses(class_loss, by_label)(logits, labels, torch.ones(2, 5))
    torch.testing.assert_close(found.flatten(), expected)


def test_class_weights_are_told_by_name_and_unknown_names_are_refused():
    loss = chosen_class_loss(LossSettings(class_weights={"c": 5.0}), CLASSES, torch.device("cpu"))
    assert loss.by_label.tolist() == [1.0, 1.0, 1.0, 5.0]
    with pytest.raises(ConfigError, match=r"no class 'd' in the data; name some of a, b, c$"):
        chosen_class_loss(LossSettings(class_weights={"d": 5.0}), CLASSES, torch.device("cpu"))


@pytest.mark.parametrize("normalised", [False, True])
def test_giou_is_that_of_the_boxes_which_the_deltas_lead_to(normalised):
    references, found, truth = boxes_in(6, seed=0), boxes_in(6, seed=1), boxes_in(6, seed=2)
    deltas, scale = encode(found, references), (0.0, 1.0)
    if normalised:
        scale = (drawn(6, 4), drawn(6, 4, seed=1).abs() + 0.1)
        deltas = (deltas - scale[0]) / scale[1]
    expected = generalized_box_iou_loss(found, truth)
    torch.testing.assert_close(giou_loss(deltas, references, truth, torch.ones(6), *scale), expected)


def test_giou_of_empty_places_costs_nothing_and_has_a_finite_gradient():
    deltas = torch.tensor([[[1e4, -1e4, 1e4, -1e4], [0.0, 0.0, -1e4, -1e4]]], requires_grad=True)
    unit = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 2, 4)
    loss = giou_loss(deltas, unit, unit, torch.zeros(1, 2)).sum()
    loss.backward()
    assert loss == 0
    assert (deltas.grad == 0).all()


@pytest.mark.parametrize("name", ["objectness", "focal objectness", "focal classes", "giou"])
def test_gradients_are_the_slopes(name):
    double, labels = {"dtype": torch.float64}, torch.tensor([[0, 1, 2, 1]])
    weight = torch.rand(1, 4, **double)
    references, truth = boxes_in(4, leading=(1,)).double(), boxes_in(4, seed=3, leading=(1,)).double()
    losses = {
        "objectness": (lambda x: objectness_loss(x, labels > 0, weight), drawn(1, 4, **double)),
        "focal objectness": (lambda x: FocalObjectness()(x, labels > 0, weight), drawn(1, 4, **double)),
        "focal classes": (lambda x: FocalClasses()(x, labels, weight), drawn(1, 4, 3, **double)),
        "giou": (lambda x: giou_loss(x, references, truth, weight), drawn(1, 4, 4, **double)),
    }
    loss, x = losses[name]
    assert torch.autograd.gradcheck(loss, x.requires_grad_())


def targets_of(boxes, labels, **flags):
    shape = (1, len(labels))
    no, yes = torch.zeros(shape, dtype=torch.bool), torch.ones(shape, dtype=torch.bool)
    rows = {"difficult": no, "crowd": no, "valid": yes, "weight": torch.ones(shape)} | flags
    return Targets(torch.tensor([boxes]), torch.tensor([labels]), **rows, keys=torch.tensor([1]))


def loop_hardest(boxes, costs, usable, threshold, count):
    """The order of Shrivastava et al.: by cost, each strikes the lesser ones that it overlaps by more."""
    order = sorted((n for n in range(len(boxes)) if usable[n]), key=lambda n: -costs[n])
    kept = []
    for n in order:
        if all(loop_iou(boxes[n], boxes[m]) <= threshold for m in kept):
            kept.append(n)
    return kept[:count]


@pytest.mark.parametrize("count", [4, 60])
def test_the_hardest_regions_are_the_loops(count):
    boxes, costs = boxes_in(40, side=60.0, leading=(1,)), drawn(1, 40).abs()
    targets = targets_of([[5.0, 5.0, 40.0, 40.0]], [1])
    usable = (torch.arange(40) < 35)[None]
    asked = []

    def cost(some: Sampled):
        asked.append((some, torch.is_grad_enabled()))
        return {"score": 0.25 * costs, "box": 0.75 * costs}

    matches = match(boxes, targets)
    regions = Candidates(boxes, matches, usable, targets.keys)
    chosen = Hardest(0.7)(regions, Sampling(count, 0.25, 0.5, 0.5, low=0.1), cost)
    kept = loop_hardest(boxes[0].tolist(), costs[0].tolist(), usable[0].tolist(), 0.7, count)
    assert chosen.index[0][chosen.valid[0]].tolist() == kept
    assert chosen.index.shape == (1, min(count, 40))
    positive = (matches.iou >= 0.5) & usable
    assert torch.equal(chosen.positive, positive.gather(1, chosen.index) & chosen.valid)
    ((everyone, gradient),) = asked
    assert not gradient, "the ranking learns nothing"
    assert everyone.index.tolist() == [list(range(40))]
    assert torch.equal(everyone.valid, usable), "background of any overlap takes part (section 4.1)"


def test_regions_in_a_crowd_are_not_hard():
    boxes = boxes_in(20, side=30.0, leading=(1,))
    targets = targets_of([[0.0, 0.0, 60.0, 60.0]], [1], crowd=torch.ones(1, 1, dtype=torch.bool))
    regions = Candidates(boxes, match(boxes, targets), torch.ones(1, 20, dtype=torch.bool), targets.keys)
    chosen = Hardest()(regions, Sampling(8, 0.25, 0.5, 0.5), lambda some: {"score": torch.ones(1, 20)})
    assert not chosen.valid.any()


def learner(loss, **changes):
    """The demo's network with random weights, and what it minimises by some losses."""
    torch.manual_seed(0)
    config = build.resolved(override(demo(), None, (), changes), pretrained=False)
    settings = config.training.model_copy(update={"loss": LossSettings(**loss)})
    config = config.model_copy(update={"training": settings})
    model, _ = build.detector(config, len(CLASSES))
    return build.stages(model, config, CLASSES)[0].objective


@pytest.mark.parametrize("name", VARIANTS)
def test_each_loss_has_fixed_shapes_and_never_waits_for_the_device(name, monkeypatch):
    from test_fixed_shapes import NothingWaits, fake_batch

    monkeypatch.setattr(build.model, "quickened", lambda model: model)
    with FakeTensorMode(), torch.device("cuda"):
        objective = learner(VARIANTS[name])
        batch, targets = fake_batch()
        with NothingWaits():
            losses = objective(batch, targets)
    assert {(value.shape, value.device.type) for value in losses.values()} == {((), "cuda")}
    assert losses.keys() == {"rpn_score", "rpn_box", "score", "box"}
    assert all(value.requires_grad for value in losses.values())


@pytest.mark.parametrize("name", VARIANTS)
def test_each_loss_goes_through_the_compiler_in_one_graph_and_its_slope_waits_for_nothing(name):
    from test_fixed_shapes import NothingWaits

    objective = learner(VARIANTS[name])
    roi, rpn = objective.rois, objective.rpn
    logits, labels, weight = drawn(2, 6, 4), torch.tensor([[0, 1, 2, 3, 0, 1]] * 2), torch.ones(2, 6)
    deltas, boxes, truth = drawn(2, 6, 4), boxes_in(6, leading=(2,)), boxes_in(6, seed=1, leading=(2,))

    def work(logits, deltas):
        scores = roi.scores(logits, labels, weight).sum() + rpn.scores(logits[..., 0], labels > 0, weight).sum()
        losses = roi.boxes(deltas, boxes, truth, weight).sum() + rpn.boxes(deltas, boxes, truth, weight).sum()
        return scores + losses

    compiled = torch.compile(work, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(logits, deltas), work(logits, deltas))
    with NothingWaits():
        work(logits.requires_grad_(), deltas.requires_grad_()).backward()
    assert deltas.grad is not None
    assert deltas.grad.any()


@pytest.mark.parametrize("name", ["giou", "ohem", "all"])
def test_nothing_to_learn_has_finite_gradients_whatever_the_loss(name):
    from test_fixed_shapes import SIZES, batch_of, losses_and_gradients, truth
    from test_fixed_shapes import targets_of as truth_of

    batch, targets = batch_of(*SIZES, count=3), truth_of([truth(n, SIZES[n], count=0) for n in range(2)], count=3)
    losses, gradients = losses_and_gradients(learner(VARIANTS[name]), batch, targets)
    assert losses["box"] == losses["rpn_box"] == 0
    assert losses["score"] > 0
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values() if gradient is not None)


def test_the_hardest_regions_cost_more_than_those_drawn_by_lot():
    from test_fixed_shapes import SIZES, batch_of, truth
    from test_fixed_shapes import targets_of as truth_of

    batch, targets = batch_of(*SIZES), truth_of([truth(n, size) for n, size in enumerate(SIZES)])
    objective = learner({"regions": "ohem"})
    hard = objective(batch, targets)
    objective.rois = replace(objective.rois, choose=learner({}).rois.choose)
    lot = objective(batch, targets)
    assert hard["score"] + hard["box"] > lot["score"] + lot["box"]
    assert torch.equal(hard["rpn_score"], lot["rpn_score"])
