"""What must hold between devices, as far as it can be told without a second one."""

from functools import partial

import pytest
import torch
from torch import Tensor

from rcnn import ops
from rcnn.ops.levels import levels_of
from rcnn.structures import PaddedDetections, to_device, unpad

STRIDES = (4, 8, 16, 32)


def padded():
    shape = (1, 2)
    filled = torch.ones(shape, dtype=torch.bool)
    return PaddedDetections(torch.rand(1, 2, 4), torch.rand(shape), torch.ones(shape).long(), filled, filled[:, 0])


def test_results_are_waited_for_on_their_way_to_the_host(monkeypatch):
    asked, true_to = [], Tensor.to

    def to(self, device, non_blocking=False):
        asked.append(non_blocking)
        return true_to(self, device)

    monkeypatch.setattr(Tensor, "to", to)
    unpad(padded(), ("a",))
    assert asked
    assert not any(asked)


def test_a_batch_on_its_way_to_a_gpu_is_not_waited_for(monkeypatch):
    asked = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: asked.append("pinned") or self)
    monkeypatch.setattr(Tensor, "to", lambda self, device, non_blocking=False: asked.append(non_blocking) or self)
    to_device(padded(), "cuda")
    assert asked == 5 * ["pinned", True]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_what_is_on_a_gpu_already_stays_there_and_the_rest_joins_it():
    here, there = torch.rand(3), torch.rand(3, device="cuda")
    moved = to_device((here, there), "cuda")
    assert torch.equal(moved[0].cpu(), here)
    assert moved[1].data_ptr() == there.data_ptr()


def made_up(device):
    """A pyramid that wants a gradient, and boxes, scores and groups of two pictures."""
    chance = torch.Generator().manual_seed(0)
    corners = torch.rand(2, 200, 2, generator=chance) * 100
    boxes = torch.cat((corners, corners + 5 + torch.rand(2, 200, 2, generator=chance) * 60), dim=-1)
    scores, groups = torch.rand(2, 200, generator=chance), torch.arange(200).expand(2, -1) % 3
    pyramid = [torch.rand(2, 8, 40 // 2**level, 40 // 2**level, generator=chance) for level in range(4)]
    levels = [level.to(device).requires_grad_() for level in pyramid]
    return levels, *(tensor.to(device) for tensor in (boxes, scores, groups.contiguous()))


def pooled(operator, device):
    """What an operator makes of the regions, and the gradient of the pyramid."""
    pyramid, boxes, *_ = made_up(device)
    outputs = operator(pyramid, boxes, levels_of(boxes, STRIDES), STRIDES)
    return [outputs, *torch.autograd.grad(outputs.square().sum(), pyramid)]


def suppressed(device):
    _, boxes, scores, groups = made_up(device)
    return ops.nms(boxes, scores, groups, scores > 0.1, 0.5, 50)


def overlapped(device):
    _, boxes, scores, _ = made_up(device)
    taught = scores[:, :20] > 0.4
    return ops.best_overlap(boxes, boxes[:, :20], taught, ~taught, scores > 0.1)


OPERATORS = {
    "nms": suppressed,
    "best_overlap": overlapped,
    "roi_align": partial(pooled, ops.roi_align),
    "roi_pool": partial(pooled, ops.roi_pool),
    "spp": partial(pooled, ops.spp),
}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_and_their_gradients_agree_between_processor_and_gpu(name):
    for here, there in zip(OPERATORS[name]("cpu"), OPERATORS[name]("cuda"), strict=True):
        torch.testing.assert_close(there.cpu(), here, rtol=1e-4, atol=1e-4)
