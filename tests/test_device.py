"""What must hold between devices, as far as it can be told without a second one."""

import pytest
import torch
from torch import Tensor

from rcnn.structures import PaddedDetections, to_device, unpad


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
    monkeypatch.setattr(Tensor, "to", lambda self, device, non_blocking=False: asked.append(non_blocking) or self)
    to_device(padded(), "cuda")
    assert asked
    assert all(asked)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_operators_agree_between_processor_and_gpu():
    from rcnn.ops import nms, roi_align
    from rcnn.ops.levels import levels_of

    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(2, 200, 2, generator=generator) * 100
    boxes = torch.cat((corners, corners + 5 + torch.rand(2, 200, 2, generator=generator) * 60), dim=-1)
    scores, groups = torch.rand(2, 200, generator=generator), torch.arange(200).expand(2, -1) % 3
    arguments = (boxes, scores, groups.contiguous(), scores > 0.1)
    here = nms(*arguments, 0.5, 50)
    there = nms(*(tensor.cuda() for tensor in arguments), 0.5, 50)
    assert all(torch.equal(a, b.cpu()) for a, b in zip(here, there, strict=True))
    pyramid = [torch.rand(2, 8, 40 // 2**level, 40 // 2**level, generator=generator) for level in range(4)]
    strides = (4, 8, 16, 32)
    levels = levels_of(boxes, strides)
    pooled = roi_align(pyramid, boxes, levels, strides)
    there = roi_align([p.cuda() for p in pyramid], boxes.cuda(), levels.cuda(), strides)
    torch.testing.assert_close(there.cpu(), pooled)
