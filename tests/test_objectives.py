"""The losses of regions and of anchors against numbers that were worked out by hand, and what reaches them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import boxes_in
from torch import nn

from rcnn.anchors import AnchorGrid
from rcnn.boxes import encode
from rcnn.data.loader import pad_proposals
from rcnn.heads.box_head import BoxHead
from rcnn.losses import SmoothL1Boxes
from rcnn.methods import FastRCNN
from rcnn.proposals.rpn import RPN, ProposalLimits, RPNHead
from rcnn.structures import Batch, Proposals, Targets
from rcnn.training.objectives import RoILoss, RPNLoss, roi_losses, rpn_losses
from rcnn.training.sampling import Sampling


def targets_of(boxes, labels):
    boxes = torch.tensor(boxes)[None]
    flags = torch.zeros(boxes.shape[:2], dtype=torch.bool)
    return Targets(boxes, torch.tensor([labels]), flags, flags, ~flags, torch.ones(boxes.shape[:2]), torch.tensor([7]))


def batch_of(size=(64, 96), original=None, canvas=(64, 96)):
    sizes = torch.tensor([size])
    original = sizes if original is None else torch.tensor([original])
    return Batch(torch.zeros(1, 3, *canvas), sizes, original, torch.ones(1))


class OneScore(FastRCNN):
    """A method whose head says the same of every region."""

    def __init__(self, logits, deltas):
        nn.Module.__init__(self)
        self.head = BoxHead(1, 1, len(logits) - 1, (), weights=(1.0, 1.0, 1.0, 1.0))
        self.head.forward = lambda pooled: (logits.expand(len(pooled), -1), deltas.expand(len(pooled), -1, -1))

    def describe(self, features, boxes):
        return boxes.reshape(-1, 4, 1, 1)


TRUTH = [[10.0, 10.0, 30.0, 40.0]]
NEAR = [10.0, 10.0, 30.0, 34.0]  # IoU 0.8
APART = [[50.0, 5.0, 70.0, 25.0], [60.0, 30.0, 90.0, 60.0], [40.0, 40.0, 45.0, 60.0]]


def region_losses(loss, regions=(NEAR, *APART)):
    boxes = torch.tensor([regions])
    ones = torch.ones(1, len(regions))
    logits, deltas = torch.tensor([0.0, 1.0, 2.0]), torch.zeros(1, 3, 4)
    proposals = Proposals(boxes, ones, ones > 0)
    return roi_losses(OneScore(logits, deltas), [], proposals, batch_of(), targets_of(TRUTH, [2]), loss)


def test_the_multi_task_loss_is_the_papers():
    loss = RoILoss(Sampling(count=8, fraction=0.5, positive=0.5, negative=0.5), boxes=SmoothL1Boxes(1.0))
    found = region_losses(loss)
    total = math.log(1 + math.e + math.e**2)
    positive, background = total - 2, total  # -log of the true class's share; two regions match, three do not
    assert float(found["score"]) == pytest.approx((2 * positive + 3 * background) / 5)
    ty, th = (25 - 22) / 24, math.log(30 / 24)  # of the region nearby; the true box itself is where it should be
    assert float(found["box"]) == pytest.approx((0.5 * ty**2 + 0.5 * th**2) / 5, rel=1e-5), (
        "divided by all five regions"
    )


@pytest.mark.parametrize("weight", [0.5, 3.0])
def test_lambda_weighs_the_boxes(weight):
    loss = RoILoss(Sampling(count=8, fraction=0.5, positive=0.5, negative=0.5), boxes=SmoothL1Boxes(1.0))
    whole, weighed = region_losses(loss), region_losses(replace(loss, box=weight))
    assert float(weighed["box"]) == pytest.approx(weight * float(whole["box"]))
    assert torch.equal(weighed["score"], whole["score"])


def test_tasks_that_do_not_count_are_not_there():
    loss = RoILoss()
    assert region_losses(replace(loss, box=0.0)).keys() == {"score"}
    assert region_losses(replace(loss, score=0.0)).keys() == {"box"}


def test_background_is_what_overlaps_a_little_where_so_much_is_asked():
    touching = [25.0, 30.0, 45.0, 50.0]  # IoU 50 / 950 = 0.05
    closer = [18.0, 20.0, 42.0, 45.0]  # IoU 240 / 960 = 0.25
    loss = RoILoss(Sampling(count=8, fraction=0.5, positive=0.5, negative=0.5, low=0.1), boxes=SmoothL1Boxes(1.0))
    total = math.log(1 + math.e + math.e**2)
    found = region_losses(loss, (NEAR, touching, closer, *APART))
    assert float(found["score"]) == pytest.approx((2 * (total - 2) + total) / 3), "the true box, two regions, no more"


def rpn_of(stride=32, sizes=((32.0,),), ratios=(1.0,), channels=2):
    torch.manual_seed(0)
    grid = AnchorGrid(sizes, ratios)
    rpn = RPN(RPNHead(channels, grid.per_cell), grid)
    for layer in (rpn.head.cls_logits, rpn.head.bbox_pred):
        nn.init.zeros_(layer.weight)
    return rpn


@torch.no_grad()
def anchor_losses(loss, boxes=((0.0, 0.0, 32.0, 32.0),), **sizes):
    """All logits and deltas are 0; the anchors are squares of 32 around the corners of 2 x 3 cells of 32 pixels."""
    batch = batch_of(**sizes)
    features = [torch.zeros(1, 2, batch.images.shape[2] // 32, batch.images.shape[3] // 32)]
    return rpn_losses(rpn_of(), features, batch, targets_of(list(boxes), [1] * len(boxes)), loss)


LOSS = RPNLoss(Sampling(count=6, fraction=0.5, positive=0.7, negative=0.3, best_match=True))


def test_equation_1_with_each_of_its_divisors():
    found = anchor_losses(LOSS, [(4.0, 4.0, 36.0, 36.0)])
    # Around (0, 0) IoU is 144 / 1904, around (32, 32) 28 * 28 / 1264 = 0.62: best of the object, so positive.
    assert float(found["rpn_score"]) == pytest.approx(math.log(2))
    expected = sum(abs((20 - 32) / 32) - 1 / 18 for _ in range(2))
    assert float(found["rpn_box"]) == pytest.approx(expected / 6, rel=1e-5), "six anchors are sampled"
    paper = anchor_losses(replace(LOSS, balance=10.0, per_position=True), [(4.0, 4.0, 36.0, 36.0)])
    assert float(paper["rpn_box"]) == pytest.approx(10 * expected / 6, rel=1e-5), "six cells"
    few = replace(LOSS, sampling=replace(LOSS.sampling, count=2))
    assert float(anchor_losses(few, [(4.0, 4.0, 36.0, 36.0)])["rpn_box"]) == pytest.approx(expected / 2, rel=1e-5)
    few = replace(few, balance=10.0, per_position=True)
    assert float(anchor_losses(few, [(4.0, 4.0, 36.0, 36.0)])["rpn_box"]) == pytest.approx(10 * expected / 6, rel=1e-5)


def test_positions_are_those_of_the_picture_and_not_of_its_canvas():
    paper, boxes = replace(LOSS, per_position=True), [(4.0, 4.0, 36.0, 36.0)]
    wide = anchor_losses(paper, boxes, size=(64, 96), canvas=(128, 192))
    torch.testing.assert_close(wide["rpn_box"], anchor_losses(paper, boxes)["rpn_box"])


def test_a_cell_of_several_anchors_is_one_position():
    rpn, paper = rpn_of(sizes=((32.0, 200.0),)), replace(LOSS, per_position=True)
    features, targets = [torch.zeros(1, 2, 2, 3)], targets_of([(4.0, 4.0, 36.0, 36.0)], [1])
    with torch.no_grad():
        found = rpn_losses(
            rpn, features, batch_of(), targets, replace(paper, sampling=replace(LOSS.sampling, count=12))
        )
    torch.testing.assert_close(found["rpn_box"], anchor_losses(paper, [(4.0, 4.0, 36.0, 36.0)])["rpn_box"])


def test_anchors_that_cross_the_border_do_not_teach_where_that_is_asked():
    """Two of the six lie inside, around (32, 32) and (64, 32); the object's best anchor is sought among them."""
    inner = replace(LOSS, border=False)
    corner = [(0.0, 0.0, 17.0, 17.0)]  # best matched by the anchor around (0, 0), which crosses
    all_of_them, some = (anchor_losses(loss, corner) for loss in (LOSS, inner))
    wanted = encode(torch.tensor(corner), torch.tensor([[16.0, 16.0, 48.0, 48.0]]))[0]
    cost = torch.where(wanted.abs() < 1 / 9, 4.5 * wanted**2, wanted.abs() - 1 / 18).sum()
    torch.testing.assert_close(some["rpn_box"], cost / 2)
    assert not torch.allclose(all_of_them["rpn_box"], some["rpn_box"])


def test_a_picture_on_which_every_anchor_crosses_the_border_costs_nothing():
    found = anchor_losses(replace(LOSS, border=False), size=(20, 20), canvas=(32, 32))
    assert [float(value) for value in found.values()] == [0, 0]


@pytest.mark.parametrize(("scale", "survive"), [(1.0, 2), (2.0, 1), (0.5, 3)])
def test_small_proposals_are_dropped_by_their_size_in_the_original_picture(scale, survive):
    """Squares of 12, 24 and 48 pixels as resized; at least 16 in the picture that was `scale` times smaller."""
    rpn = rpn_of(sizes=((12.0, 24.0, 48.0),))
    original = (round(64 / scale), round(96 / scale))
    limits = ProposalLimits(nms=1.0, side=16.0)
    with torch.no_grad():
        found = rpn([torch.zeros(1, 2, 2, 3)], batch_of(original=original), limits)
    sides = (found.boxes[..., 2:] - found.boxes[..., :2])[found.valid]
    assert (sides / scale >= 16).all()
    whole = {tuple(side) for side in sides.tolist() if side[0] == side[1] and side[0] in (12, 24, 48)}
    assert len(whole) == survive


def test_a_batch_without_regions_says_so():
    with pytest.raises(ValueError, match="the batch carries no proposals, and this method makes none itself"):
        _ = batch_of().regions


def test_regions_are_padded_to_few_shapes():
    rng = np.random.default_rng(0)
    places = set()
    for most in (2000, 300, 8):
        for count in (0, 1, most // 9, most // 2, most, 2 * most):
            rows = rng.uniform(0, 50, (count, 4)).astype(np.float32)
            found = pad_proposals([rows, rows[:3]], most, 3)
            kept = min(count, most)
            assert found.valid.sum(1).tolist() == [kept, min(3, kept), 0]
            assert torch.equal(found.boxes[0, :kept], torch.from_numpy(rows[:kept]))
            assert not found.boxes[~found.valid].any()
            assert not found.scores[~found.valid].any()
            assert (found.scores[0, :kept].diff() < 0).all()
            assert 0 <= found.boxes.shape[1] - kept <= -(-most // 8)
            places.add((most, found.boxes.shape[1]))
    assert len([1 for most, _ in places if most == 2000]) <= 8


@pytest.mark.parametrize("garbage", [0.0, 1e4])
def test_what_lies_in_empty_places_teaches_nothing(garbage):
    regions, valid = boxes_in(12, leading=(1,)), (torch.arange(12) < 5)[None]
    losses = []
    for boxes in (regions, torch.where(valid[..., None], regions, garbage)):
        method = OneScore(torch.tensor([0.0, 1.0, 2.0]), torch.zeros(1, 3, 4))
        proposals = Proposals(boxes, torch.ones(1, 12), valid)
        losses.append(roi_losses(method, [], proposals, batch_of(), targets_of(TRUTH, [2]), RoILoss()))
    assert losses[0].keys() == losses[1].keys()
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])
