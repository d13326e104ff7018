"""RoI pooling: loops, reference, both kernels and torchvision agree, in values and in gradients."""

import math

import pytest
import torch
from oracles import loop_roi_pool, maps_in, poisoned_memory
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.ops import roi_pool as torchvision_roi_pool

from rcnn.ops import roi_pool
from rcnn.ops.bin_max import scatter_add
from rcnn.ops.bin_max_numba import bin_max_numba, scatter_numba
from rcnn.ops.bin_max_windows import _windows, bin_max_windows
from rcnn.ops.levels import shapes_of
from rcnn.ops.reference import roi_pool_reference
from rcnn.ops.roi_pool import roi_pool_bins

STRIDES = (8, 13.5)
ODD_REGIONS = [
    [3.3, 5.1, 40.7, 33.9],
    [-300.0, -200.0, -90.0, -80.0],  # wholly outside
    [-9.0, -7.5, 20.0, 13.0],  # across the upper left corner
    [90.0, 60.0, 170.0, 130.0],  # across the lower right corner
    [12.25, 12.5, 12.26, 12.75],  # tiny
    [20.0, 20.0, 20.0, 20.0],  # a point
    [30.0, 30.0, 10.0, 12.0],  # its corners swapped
    [-2000.0, -3000.0, 2500.0, 2700.0],  # huge
    [4.0, 12.0, 68.0, 52.0],  # halves: rounded away from zero
    [0.0, 0.0, 130.0, 70.0],
]


def windows(pyramid, boxes, levels, strides, size=7):
    """The kernel of other devices, on this one."""
    bins = roi_pool_bins(shapes_of(pyramid), boxes, levels, strides, size)
    return bin_max_windows(pyramid, levels, bins)[0].transpose(1, 2).unflatten(2, (size, size))


KERNELS = pytest.mark.parametrize(
    "kernel", [roi_pool, windows, roi_pool_reference], ids=["fast", "windows", "reference"]
)


def regions(dtype=torch.float64):
    """The odd regions; the second picture has them in the other order. And the level of each."""
    boxes = torch.tensor(ODD_REGIONS, dtype=dtype)
    return torch.stack([boxes, boxes.flip(0)]), torch.arange(20).view(2, 10) % 3 % 2


def loops(pyramid, boxes, levels, strides, size):
    """Maxima of all regions, and the gradients of the sum of all of them."""
    pooled, grads = [], [torch.zeros_like(level) for level in pyramid]
    for picture, rows in enumerate(boxes.tolist()):
        for box, level in zip(rows, levels[picture].tolist(), strict=True):
            values, holders = loop_roi_pool(pyramid[level][picture], box, strides[level], size)
            pooled.append(values)
            for channel, cells in enumerate(holders):
                for cell in cells:
                    if cell is not None:
                        grads[level][picture, channel, *cell] += 1
    return torch.tensor(pooled, dtype=torch.float64).unflatten(2, (size, size)), grads


@KERNELS
@pytest.mark.parametrize("size", [1, 2, 7])
def test_odd_regions_agree_with_the_loops(kernel, size):
    pyramid, (boxes, levels) = maps_in(), regions()
    assert torch.equal(kernel(pyramid, boxes, levels, STRIDES, size), loops(pyramid, boxes, levels, STRIDES, size)[0])


@pytest.mark.parametrize("kernel", [roi_pool, roi_pool_reference], ids=["fast", "reference"])
@pytest.mark.parametrize("size", [2, 7])
@pytest.mark.parametrize("tied", [False, True])
def test_the_gradient_goes_to_the_first_cell_that_holds_the_maximum(kernel, size, tied):
    pyramid, (boxes, levels) = maps_in(), regions()
    pyramid = [(level.round() if tied else level).requires_grad_() for level in pyramid]
    grads = torch.autograd.grad(kernel(pyramid, boxes, levels, STRIDES, size).sum(), pyramid)
    for grad, expected in zip(grads, loops(pyramid, boxes, levels, STRIDES, size)[1], strict=True):
        assert torch.equal(grad, expected)


def test_windows_of_large_maps_are_made_for_a_few_channels_at_a_time(monkeypatch):
    chance = torch.Generator().manual_seed(0)
    pyramid = [torch.randn(2, 5, height, width, generator=chance) for height, width in ((9, 13), (5, 7))]
    boxes, levels = regions(torch.float32)
    bins = roi_pool_bins(shapes_of(pyramid), boxes, levels, STRIDES, 3)
    whole, calls = bin_max_windows(pyramid, levels, bins), []
    counting = lambda maps: calls.append(maps[0].shape[1]) or _windows(maps)  # noqa: E731
    monkeypatch.setattr("rcnn.ops.bin_max_windows._windows", counting)
    cells = 9 * 13 * 4 * 4 + 5 * 7 * 3 * 3
    monkeypatch.setattr("rcnn.ops.bin_max_windows.MOST_ROOM", 2 * (2 * cells * 8))
    for part, expected in zip(bin_max_windows(pyramid, levels, bins), whole, strict=True):
        assert torch.equal(part, expected)
    assert calls == [2, 2, 1]


@pytest.mark.parametrize("kernel", [roi_pool, windows], ids=["fast", "windows"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [2, 6, 7])
def test_one_level_is_torchvisions(kernel, dtype, size):
    generator = torch.Generator().manual_seed(size)
    features = torch.randn(2, 4, 62, 70, generator=generator, dtype=dtype)
    corner, side = torch.rand(2, 2, 300, 2, generator=generator, dtype=dtype) * 1000 - 40
    boxes = torch.cat((corner, corner + side), dim=-1)
    boxes[:, ::2] = boxes[:, ::2].round()
    boxes[:, ::4] = boxes[:, ::4] // 8 * 8  # many halves of a cell
    levels = torch.zeros(2, 300, dtype=torch.int64)
    expected = torchvision_roi_pool(features, list(boxes), size, 1 / 16)
    assert torch.equal(kernel([features], boxes, levels, (16,), size), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bins_are_torchvisions_for_every_length(dtype):
    features = torch.arange(260.0, dtype=dtype).view(1, 1, 260, 1)
    ends = torch.arange(250.0, dtype=dtype)
    boxes = torch.stack((0 * ends, 0 * ends + 3, 0 * ends, ends + 3), dim=-1)[None]
    expected = torchvision_roi_pool(features, list(boxes), 7, 1.0)
    for kernel in (roi_pool, windows, roi_pool_reference):
        assert torch.equal(kernel([features], boxes, torch.zeros(1, 250, dtype=torch.int64), (1,)), expected)


def test_gradients_are_torchvisions():
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(2, 4, 20, 30, generator=generator, requires_grad=True)
    corner, side = torch.rand(2, 2, 50, 2, generator=generator) * 300
    boxes, levels = torch.cat((corner, corner + side), dim=-1), torch.zeros(2, 50, dtype=torch.int64)
    cotangent = torch.randint(-9, 9, (100, 4, 7, 7), generator=generator).float()  # sums of these are exact
    (expected,) = torch.autograd.grad(torchvision_roi_pool(features, list(boxes), 7, 1 / 16), features, cotangent)
    (grad,) = torch.autograd.grad(roi_pool([features], boxes, levels, (16,)), features, cotangent)
    assert torch.equal(grad, expected)


def test_gradients_are_those_of_finite_differences():
    pyramid, (boxes, levels) = [level.requires_grad_() for level in maps_in(channels=1)], regions()
    assert torch.autograd.gradcheck(lambda *maps: roi_pool(maps, boxes, levels, STRIDES, 2), pyramid)


def test_the_worked_example_of_a_tall_region_on_a_small_map():
    """800 x 800 pixels, 8 x 8 cells; a region of 500 x 700 pixels has 5 x 7 cells and becomes 2 x 2 bins."""
    features = torch.arange(64.0).view(1, 1, 8, 8)
    boxes, levels = torch.tensor([[[0.0, 100.0, 400.0, 700.0]]]), torch.zeros(1, 1, dtype=torch.int64)
    bins = roi_pool_bins([(8, 8)], boxes, levels, (100,), 2)
    assert bins[0, 0].tolist() == [[1, 5, 0, 3], [1, 5, 2, 5], [4, 8, 0, 3], [4, 8, 2, 5]]
    assert roi_pool([features], boxes, levels, (100,), 2).tolist() == [[[[34.0, 36.0], [58.0, 60.0]]]]


def test_both_kernels_name_the_same_winners_and_scatter_alike():
    pyramid, (boxes, levels) = [level.round() for level in maps_in()], regions()
    bins = roi_pool_bins(shapes_of(pyramid), boxes, levels, STRIDES, 3)
    pooled, winners = bin_max_numba(pyramid, levels, bins)
    other, others = bin_max_windows(pyramid, levels, bins)
    assert torch.equal(pooled, other)
    assert torch.equal(winners, others)
    assert (winners == -1).any()
    rows, values = 2 * (9 * 17 + 6 * 10), torch.arange(180 * 3.0).view(winners.shape[0], 3, -1).transpose(1, 2)
    sums = scatter_numba(values, winners, rows)
    assert torch.equal(sums, scatter_add(values, winners, rows))
    assert sums.sum() == values[winners >= 0].sum()


def test_the_number_of_threads_changes_nothing():
    pyramid, (boxes, levels) = [level.requires_grad_() for level in maps_in(channels=5)], regions()
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 3, 8):
            torch.set_num_threads(threads)
            pooled = roi_pool(pyramid, boxes, levels, STRIDES)
            results.append([pooled, *torch.autograd.grad(pooled.square().sum(), pyramid)])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@KERNELS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_exact(kernel, dtype):
    pyramid, (boxes, levels) = [level.to(dtype) for level in maps_in()], regions(torch.float32)
    pooled = kernel(pyramid, boxes, levels, STRIDES, 3)
    assert pooled.dtype == dtype
    assert torch.equal(pooled.float(), kernel([level.float() for level in pyramid], boxes, levels, STRIDES, 3))


def test_the_gradient_of_many_regions_on_one_cell_is_not_lost_in_half_precision():
    level = torch.zeros(1, 1, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    boxes, levels = torch.tensor([0.0, 0.0, 32.0, 32.0]).expand(1, 4096, 4), torch.zeros(1, 4096, dtype=torch.int64)
    roi_pool([level], boxes, levels, (8,), 1).sum().backward()
    assert level.grad is not None
    assert level.grad[0, 0, 0, 0] == level.grad.sum() == 4096


@KERNELS
@pytest.mark.parametrize(("pictures", "count"), [(0, 4), (2, 0), (0, 0)])
def test_no_pictures_or_no_regions_give_no_features(kernel, pictures, count):
    levels = torch.zeros(pictures, count, dtype=torch.int64)
    pooled = kernel(maps_in(pictures), torch.zeros(pictures, count, 4), levels, STRIDES)
    assert pooled.shape == (0, 3, 7, 7)


def test_no_regions_give_a_gradient_of_zero():
    pyramid = [level.requires_grad_() for level in maps_in()]
    roi_pool(pyramid, torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64), STRIDES).sum().backward()
    assert all(level.grad is not None and not level.grad.any() for level in pyramid)


@KERNELS
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_region_that_is_not_finite_leaves_the_others_alone(kernel, value):
    pyramid, (boxes, levels) = maps_in(), regions()
    expected = kernel(pyramid, boxes, levels, STRIDES, 3)
    boxes[0, 3], boxes[1, 0, 2] = value, value
    pooled = kernel(pyramid, boxes, levels, STRIDES, 3)
    broken = torch.zeros(20, dtype=torch.bool)
    broken[[3, 10]] = True
    assert torch.equal(pooled[~broken], expected[~broken])
    assert pooled.isfinite().all()
    if math.isnan(value):
        assert not pooled[broken].any()


@KERNELS
def test_poisoned_memory_does_not_show(kernel):
    pyramid, (boxes, levels) = [level.requires_grad_() for level in maps_in()], regions()
    with poisoned_memory():
        pooled = kernel(pyramid, boxes, levels, STRIDES, 3)
        grads = torch.autograd.grad(pooled.square().sum(), pyramid)
    calm = kernel(pyramid, boxes, levels, STRIDES, 3)
    assert torch.equal(pooled, calm)
    torch.testing.assert_close(grads, torch.autograd.grad(calm.square().sum(), pyramid))


def test_a_picture_alone_gives_what_it_gives_in_a_batch():
    pyramid, (boxes, levels) = maps_in(), regions()
    together = roi_pool(pyramid, boxes, levels, STRIDES).unflatten(0, (2, -1))
    for n in range(2):
        alone = roi_pool([level[n : n + 1] for level in pyramid], boxes[n : n + 1], levels[n : n + 1], STRIDES)
        assert torch.equal(alone, together[n])


def test_the_operators_keep_their_contract_with_pytorch():
    pyramid, (boxes, levels) = [level.requires_grad_() for level in maps_in()], regions()
    bins = roi_pool_bins(shapes_of(pyramid), boxes, levels, STRIDES, 2)
    torch.library.opcheck(torch.ops.rcnn.bin_max.default, (pyramid, levels, bins))
    winners = torch.randint(-1, 30, (20, 4, 3), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    torch.library.opcheck(torch.ops.rcnn.bin_max_backward.default, (torch.randn(20, 3, 4), winners, 30))


def test_fake_tensors_on_a_gpu_have_the_right_shapes():
    with FakeTensorMode():
        pyramid = [torch.empty(2, 3, 16 // n, 24 // n, device="cuda") for n in (1, 2)]
        levels = torch.zeros(2, 5, device="cuda", dtype=torch.int64)
        pooled = roi_pool(pyramid, torch.empty(2, 5, 4, device="cuda"), levels, (8, 16), 3)
        by_windows = windows(pyramid, torch.empty(2, 5, 4, device="cuda"), levels, (8, 16), 3)
    assert pooled.shape == by_windows.shape == (10, 3, 3, 3)
    assert pooled.is_contiguous(memory_format=torch.channels_last)
    assert pooled.device.type == by_windows.device.type == "cuda"


def test_it_compiles_as_one_graph_with_its_gradient():
    pyramid, (boxes, levels) = [level.requires_grad_() for level in maps_in()], regions()
    results = []
    for kernel in (roi_pool, torch.compile(roi_pool, fullgraph=True, backend="aot_eager")):
        pooled = kernel(pyramid, boxes, levels, STRIDES)
        assert pooled.is_contiguous(memory_format=torch.channels_last)
        results.append([pooled, *torch.autograd.grad(pooled.square().sum(), pyramid)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_bin_beyond_its_map_is_refused():
    pyramid, levels = [torch.rand(1, 2, 4, 6), torch.rand(1, 2, 2, 3)], torch.tensor([[0, 1]])
    inside = torch.tensor([[[[0, 4, 0, 6]], [[0, 2, 0, 3]]]])
    assert torch.ops.rcnn.bin_max(pyramid, levels, inside)[0].flatten(1).tolist() == [
        pyramid[0][0].amax((1, 2)).tolist(),
        pyramid[1][0].amax((1, 2)).tolist(),
    ]
    for bins in ([0, 3, 0, 3], [0, 2, 0, 4], [-1, 2, 0, 3], [0, 2, -1, 3]):
        outside = torch.stack((inside[:, 0], torch.tensor([[bins]])), 1)
        with pytest.raises(ValueError, match="a bin is not within the map of its level"):
            torch.ops.rcnn.bin_max(pyramid, levels, outside)
    for other in ([[0, 2]], [[0, -1]]):
        with pytest.raises(ValueError, match="a region's level is not in the pyramid"):
            torch.ops.rcnn.bin_max(pyramid, torch.tensor(other), inside)
    with pytest.raises(ValueError, match="as many pictures"):
        torch.ops.rcnn.bin_max(pyramid, levels.repeat(2, 1), inside.repeat(2, 1, 1, 1))
