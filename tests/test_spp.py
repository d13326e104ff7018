"""Spatial pyramid pooling: loops, reference and both kernels agree, in values and in gradients."""

import math

import pytest
import torch
from oracles import loop_spp, maps_in, poisoned_memory
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import adaptive_max_pool2d

from rcnn.ops import spp
from rcnn.ops.bin_max_windows import bin_max_windows
from rcnn.ops.levels import shapes_of
from rcnn.ops.reference import spp_reference
from rcnn.ops.spp import spp_bins

STRIDES = (8, 13.5)
BINS = (1, 2, 3, 6)
ODD_REGIONS = [
    [3.3, 5.1, 90.7, 63.9],
    [-300.0, -200.0, -90.0, -80.0],  # wholly outside
    [400.0, 300.0, 500.0, 310.0],  # wholly outside, on the other side
    [-9.0, -7.5, 50.0, 43.0],  # across the upper left corner
    [60.0, 30.0, 170.0, 130.0],  # across the lower right corner
    [12.25, 12.5, 12.26, 12.75],  # tiny
    [20.0, 20.0, 20.0, 20.0],  # a point
    [30.0, 30.0, 10.0, 12.0],  # its corners swapped
    [-2000.0, -3000.0, 2500.0, 2700.0],  # huge
    [15.0, 16.0, 64.0, 65.0],  # edges on multiples of the stride and beside them
    [0.0, 0.0, 130.0, 70.0],
]


def windows(pyramid, boxes, levels, strides, bins=BINS):
    """The kernel of other devices, on this one."""
    rectangles = spp_bins(shapes_of(pyramid), boxes, levels, strides, bins)
    return bin_max_windows(pyramid, levels, rectangles)[0].transpose(1, 2)


KERNELS = pytest.mark.parametrize("kernel", [spp, windows, spp_reference], ids=["fast", "windows", "reference"])


def regions(dtype=torch.float64):
    """The odd regions; the second picture has them in the other order. And the level of each."""
    boxes = torch.tensor(ODD_REGIONS, dtype=dtype)
    return torch.stack([boxes, boxes.flip(0)]), torch.arange(22).view(2, 11) % 3 % 2


def loops(pyramid, boxes, levels, strides, bins):
    """Maxima of all regions, and the gradients of the sum of all of them."""
    pooled, grads = [], [torch.zeros_like(level) for level in pyramid]
    for picture, rows in enumerate(boxes.tolist()):
        for box, level in zip(rows, levels[picture].tolist(), strict=True):
            values, holders = loop_spp(pyramid[level][picture], box, strides[level], bins)
            pooled.append(values)
            for channel, cells in enumerate(holders):
                for y, x in cells:
                    grads[level][picture, channel, y, x] += 1
    return torch.tensor(pooled, dtype=torch.float64), grads


@KERNELS
@pytest.mark.parametrize("bins", [(1,), (2, 5), BINS])
def test_odd_regions_agree_with_the_loops(kernel, bins):
    pyramid, (boxes, levels) = maps_in(), regions()
    assert torch.equal(kernel(pyramid, boxes, levels, STRIDES, bins), loops(pyramid, boxes, levels, STRIDES, bins)[0])


@pytest.mark.parametrize("kernel", [spp, spp_reference], ids=["fast", "reference"])
@pytest.mark.parametrize("tied", [False, True])
def test_the_gradient_goes_to_the_first_cell_that_holds_the_maximum(kernel, tied):
    pyramid, (boxes, levels) = maps_in(), regions()
    pyramid = [(level.round() if tied else level).requires_grad_() for level in pyramid]
    grads = torch.autograd.grad(kernel(pyramid, boxes, levels, STRIDES).sum(), pyramid)
    for grad, expected in zip(grads, loops(pyramid, boxes, levels, STRIDES, BINS)[1], strict=True):
        assert torch.equal(grad, expected)


@KERNELS
def test_a_region_of_whole_cells_is_torchs_adaptive_pooling_of_its_crop(kernel):
    (features,) = maps_in(1, shapes=((20, 30),))
    boxes = torch.tensor([[[48.0, 32.0, 320.0, 240.0]]], dtype=torch.float64)
    crop = features[:, :, 2:14, 3:19]  # from the cell after the first edge's, to the cell before the last edge's
    expected = torch.cat([adaptive_max_pool2d(crop, n).flatten(2) for n in BINS], dim=2)
    assert torch.equal(kernel([features], boxes, torch.zeros(1, 1, dtype=torch.int64), (16,)), expected)


@pytest.mark.parametrize(
    ("low", "high", "first", "count"),
    [
        (0, 64, 0, 3),  # pixels 1 to 64: cells 1 to 3 of SPPnet's count
        (0, 65, 0, 4),
        (14, 64, 0, 3),
        (15, 64, 1, 2),  # pixel 16 is the first that begins with cell 2
        (15.5, 64.5, 1, 3),
        (20, 24, 1, 1),  # nothing left: the first cell
        (40, 30, 2, 1),
        (-50, -40, 0, 1),
        (-50, 500, 0, 6),
        (300, 400, 5, 1),
    ],
)
def test_the_projection_counts_as_the_paper_does(low, high, first, count):
    boxes = torch.tensor([[[low, 0.0, high, 500.0]]])
    bins = spp_bins([(4, 6)], boxes, torch.zeros(1, 1, dtype=torch.int64), (16,), (1,))
    assert bins.flatten().tolist() == [0, 4, first, first + count]


def test_gradients_are_those_of_finite_differences():
    pyramid, (boxes, levels) = [level.requires_grad_() for level in maps_in(channels=1)], regions()
    assert torch.autograd.gradcheck(lambda *maps: spp(maps, boxes, levels, STRIDES, (1, 3)), pyramid)


@KERNELS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_exact(kernel, dtype):
    pyramid, (boxes, levels) = [level.to(dtype) for level in maps_in()], regions(torch.float32)
    pooled = kernel(pyramid, boxes, levels, STRIDES)
    assert pooled.dtype == dtype
    assert torch.equal(pooled.float(), kernel([level.float() for level in pyramid], boxes, levels, STRIDES))


@KERNELS
@pytest.mark.parametrize(("pictures", "count"), [(0, 4), (2, 0), (0, 0)])
def test_no_pictures_or_no_regions_give_no_features(kernel, pictures, count):
    levels = torch.zeros(pictures, count, dtype=torch.int64)
    assert kernel(maps_in(pictures), torch.zeros(pictures, count, 4), levels, STRIDES).shape == (0, 3, 50)


def test_no_regions_give_a_gradient_of_zero():
    pyramid = [level.requires_grad_() for level in maps_in()]
    spp(pyramid, torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64), STRIDES).sum().backward()
    assert all(level.grad is not None and not level.grad.any() for level in pyramid)


@KERNELS
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_region_that_is_not_finite_leaves_the_others_alone(kernel, value):
    pyramid, (boxes, levels) = maps_in(), regions()
    expected = kernel(pyramid, boxes, levels, STRIDES)
    boxes[0, 3], boxes[1, 0, 2] = value, value
    pooled = kernel(pyramid, boxes, levels, STRIDES)
    broken = torch.zeros(22, dtype=torch.bool)
    broken[[3, 11]] = True
    assert torch.equal(pooled[~broken], expected[~broken])
    assert pooled.isfinite().all()


@KERNELS
def test_poisoned_memory_does_not_show(kernel):
    pyramid, (boxes, levels) = [level.requires_grad_() for level in maps_in()], regions()
    with poisoned_memory():
        pooled = kernel(pyramid, boxes, levels, STRIDES)
        grads = torch.autograd.grad(pooled.square().sum(), pyramid)
    calm = kernel(pyramid, boxes, levels, STRIDES)
    assert torch.equal(pooled, calm)
    torch.testing.assert_close(grads, torch.autograd.grad(calm.square().sum(), pyramid))


def test_fake_tensors_on_a_gpu_have_the_right_shapes():
    with FakeTensorMode():
        pyramid = [torch.empty(2, 3, 16 // n, 24 // n, device="cuda") for n in (1, 2)]
        levels = torch.zeros(2, 5, device="cuda", dtype=torch.int64)
        boxes = torch.empty(2, 5, 4, device="cuda")
        pooled, by_windows = (kernel(pyramid, boxes, levels, (8, 16), (2, 3)) for kernel in (spp, windows))
    assert pooled.shape == by_windows.shape == (10, 3, 13)
    assert pooled.stride() == by_windows.stride()
    assert pooled.device.type == by_windows.device.type == "cuda"


def test_it_compiles_as_one_graph_with_its_gradient():
    pyramid, (boxes, levels) = [level.requires_grad_() for level in maps_in()], regions()
    results = []
    for kernel in (spp, torch.compile(spp, fullgraph=True, backend="aot_eager")):
        pooled = kernel(pyramid, boxes, levels, STRIDES)
        results.append([pooled, *torch.autograd.grad(pooled.square().sum(), pyramid)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
