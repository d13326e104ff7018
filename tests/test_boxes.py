"""Box arithmetic, against torchvision's and by hand."""

import math

import pytest
import torch
from oracles import boxes_in, loop_iou
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_area, box_iou, clip_boxes_to_image

from rcnn.boxes import MAX_LOG_SCALE, area, clip, decode, encode, has_side, intersection, iou

WEIGHTS = [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)]


def test_area_and_iou_are_torchvisions():
    a, b = boxes_in(17, seed=1), boxes_in(5, seed=2)
    assert torch.equal(area(a), box_area(a))
    assert torch.equal(iou(a, b), box_iou(a, b))


def test_iou_is_the_loops_on_whole_pixels():
    a, b = boxes_in(9, side=8, seed=1).round(), boxes_in(7, side=8, seed=2).round()
    expected = [[loop_iou(x, y) for y in b.tolist()] for x in a.tolist()]
    torch.testing.assert_close(iou(a, b), torch.tensor(expected))


def test_iou_takes_leading_dimensions_and_broadcasts_them():
    a, b = boxes_in(6, leading=(1,)), boxes_in(4, seed=3, leading=(3,))
    assert iou(a, b).shape == (3, 6, 4)
    assert torch.equal(iou(a, b)[2], iou(a[0], b[2]))


def test_iou_of_boxes_without_area_is_zero():
    point = torch.tensor([[3.0, 3.0, 3.0, 3.0]])
    assert iou(point, point).item() == 0
    assert iou(point, torch.tensor([[0.0, 0.0, 9.0, 9.0]])).item() == 0


@pytest.mark.parametrize(("n", "m"), [(0, 3), (3, 0), (0, 0)])
def test_no_boxes_give_an_empty_table(n, m):
    assert iou(boxes_in(n), boxes_in(m)).shape == (n, m)


def test_boxes_that_touch_do_not_intersect():
    left, right = torch.tensor([[0.0, 0, 5, 5]]), torch.tensor([[5.0, 0, 9, 5]])
    assert intersection(left, right).item() == 0


def test_clip_cuts_each_picture_at_its_own_size():
    boxes = torch.tensor([[-5.0, -5.0, 500.0, 500.0], [10.0, 20.0, 30.0, 40.0], [600.0, 600.0, 700.0, 700.0]])
    sizes = torch.tensor([[50, 80], [33, 21]])
    clipped = clip(boxes.expand(2, -1, -1), sizes)
    for picture, size in enumerate(sizes.tolist()):
        assert torch.equal(clipped[picture], clip_boxes_to_image(boxes, size))


def test_has_side_asks_both_sides():
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.9, 9.0], [0.0, 0.0, 9.0, 1.9], [5.0, 5.0, 1.0, 1.0]])
    assert has_side(boxes, 2.0).tolist() == [True, False, False, False]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_decoding_what_was_encoded_gives_the_box_back(weights):
    boxes, references = boxes_in(50, seed=1).double(), boxes_in(50, seed=2).double()
    torch.testing.assert_close(decode(encode(boxes, references, weights), references, weights), boxes)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_encoding_is_torchvisions(weights):
    boxes, references = boxes_in(33, seed=1), boxes_in(33, seed=2)
    expected = BoxCoder(weights).encode_single(boxes, references)
    torch.testing.assert_close(encode(boxes, references, weights), expected)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_decoding_is_torchvisions_even_for_wild_deltas(weights):
    references = boxes_in(33, seed=2)
    deltas = torch.randn(33, 4, generator=torch.Generator().manual_seed(3)) * 20
    expected = BoxCoder(weights).decode_single(deltas, references)
    torch.testing.assert_close(decode(deltas, references, weights), expected)


def test_growth_is_capped():
    reference = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    box = decode(torch.tensor([[0.0, 0.0, 1e6, 1e6]]), reference)
    torch.testing.assert_close(box[:, 2:] - box[:, :2], torch.tensor([[1000.0, 1000.0]]))
    assert math.exp(MAX_LOG_SCALE) == pytest.approx(62.5)


def test_deltas_by_hand():
    reference, box = torch.tensor([[0.0, 0.0, 10.0, 20.0]]), torch.tensor([[5.0, 10.0, 25.0, 20.0]])
    expected = torch.tensor([[1.0, 0.25, math.log(2), math.log(0.5)]])
    torch.testing.assert_close(encode(box, reference), expected)


def test_the_gradient_of_decode_is_finite_for_wild_deltas():
    deltas = torch.tensor([[0.0, 0.0, 1e4, -1e4]], requires_grad=True)
    decode(deltas, torch.tensor([[0.0, 0.0, 4.0, 4.0]])).sum().backward()
    assert deltas.grad is not None
    assert deltas.grad.isfinite().all()
