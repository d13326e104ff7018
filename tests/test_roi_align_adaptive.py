"""RoIAlign that takes as many samples as a bin has cells: detectron2's way, at the same shapes as any other."""

import pytest
import torch
from oracles import loop_level, loop_roi_align
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.ops import roi_align as torchvision_roi_align

from rcnn.ops import roi_align
from rcnn.ops.levels import levels_of
from rcnn.ops.reference import roi_align_reference

STRIDES = (8, 16)
KERNELS = pytest.mark.parametrize("kernel", [roi_align, roi_align_reference], ids=["fast", "reference"])
BOTH_WAYS = pytest.mark.parametrize("aligned", [False, True])
BOXES = torch.tensor(
    [
        [[3.3, 5.1, 40.7, 33.9], [20.0, 20.0, 20.0, 20.0], [90.0, 60.0, 170.0, 130.0]],
        [[-9.0, -7.5, 200.0, 313.0], [30.0, 30.0, 10.0, 12.0], [12.25, 12.5, 12.26, 12.75]],
    ],
    dtype=torch.float64,
)


def maps(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 2, *shape, generator=generator, dtype=dtype) for shape in ((9, 17), (5, 9))]


def read(kernel, pyramid, size, aligned, boxes=BOXES):
    return kernel(pyramid, boxes, levels_of(boxes, STRIDES), STRIDES, size, 0, aligned)


@KERNELS
@BOTH_WAYS
@pytest.mark.parametrize("size", [1, 2, 7])
def test_it_agrees_with_the_loops(kernel, aligned, size):
    pyramid, pooled = maps(), []
    for picture, rows in enumerate(BOXES.tolist()):
        for box in rows:
            level = loop_level(box, STRIDES)
            pooled.append(loop_roi_align(pyramid[level][picture], box, STRIDES[level], size, 0, aligned))
    torch.testing.assert_close(read(kernel, pyramid, size, aligned), torch.tensor(pooled, dtype=torch.float64))


@BOTH_WAYS
def test_one_level_is_torchvisions_with_its_gradient(aligned):
    own, other = (maps()[0].requires_grad_() for _ in range(2))
    levels = torch.zeros(2, 3, dtype=torch.int64)
    pooled = roi_align([own], BOXES, levels, (8,), 3, 0, aligned)
    expected = torchvision_roi_align(other, list(BOXES), 3, 1 / 8, 0, aligned)
    torch.testing.assert_close(pooled, expected)
    weights = torch.arange(pooled.numel(), dtype=torch.float64).view_as(pooled)
    torch.testing.assert_close(
        *(torch.autograd.grad((p * weights).sum(), m)[0] for p, m in ((pooled, own), (expected, other)))
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_region_that_is_not_finite_is_zero_and_leaves_the_others_alone(value):
    boxes = BOXES.clone()
    boxes[0, 1, 2] = value
    pooled, expected = read(roi_align, maps(), 2, True, boxes), read(roi_align, maps(), 2, True)
    assert not pooled[1].any()
    others = [0, 2, 3, 4, 5]
    torch.testing.assert_close(pooled[others], expected[others])


def test_shapes_follow_from_settings_alone():
    with FakeTensorMode():
        pyramid = [torch.empty(2, 2, 9, 17), torch.empty(2, 2, 5, 9)]
        pooled = roi_align(pyramid, torch.empty(2, 3, 4), torch.empty(2, 3, dtype=torch.int64), STRIDES, 7, 0, True)
    assert pooled.shape == (6, 2, 7, 7)


def test_half_precision_is_near_full_precision():
    full = read(roi_align, maps(torch.float32), 7, True, BOXES.float())
    half = read(roi_align, [level.bfloat16() for level in maps(torch.float32)], 7, True, BOXES.float())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), full, rtol=0.02, atol=0.02)
