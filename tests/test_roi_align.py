"""RoIAlign: loops, reference, fast operator and torchvision agree, in values and in gradients."""

import math
import sys
from collections import OrderedDict

import pytest
import torch
from oracles import loop_level, loop_roi_align, poisoned_memory
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops import roi_align as torchvision_roi_align

from rcnn.ops import roi_align
from rcnn.ops.levels import levels_of
from rcnn.ops.reference import roi_align_reference
from rcnn.ops.roi_align import _channels_at_once

STRIDES = (4, 8, 16, 32)
KERNELS = pytest.mark.parametrize("kernel", [roi_align, roi_align_reference], ids=["fast", "reference"])
BOTH_WAYS = pytest.mark.parametrize("aligned", [False, True])
ODD_REGIONS = [
    [3.3, 5.1, 40.7, 33.9],
    [-300.0, -200.0, -90.0, -80.0],  # wholly outside, beyond the reach of the border cells
    [-9.0, -7.5, 20.0, 13.0],  # across the upper left corner
    [90.0, 60.0, 170.0, 130.0],  # across the lower right corner
    [12.25, 12.5, 12.26, 12.75],  # tiny
    [20.0, 20.0, 20.0, 20.0],  # a point
    [30.0, 30.0, 10.0, 12.0],  # its corners swapped
    [-2000.0, -3000.0, 2500.0, 2700.0],  # huge
    [0.0, 0.0, 130.0, 70.0],
]


def pyramid_of(pictures=2, channels=3, canvas=(70, 130), strides=STRIDES, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [tuple(-(-side // stride) for side in canvas) for stride in strides]
    return [torch.randn(pictures, channels, *shape, generator=generator, dtype=dtype) for shape in shapes]


def regions(pictures=2, dtype=torch.float64):
    """The odd regions; the second picture has them in the other order."""
    boxes = torch.tensor(ODD_REGIONS, dtype=dtype)
    return torch.stack([boxes, boxes.flip(0)])[:pictures]


def read(kernel, pyramid, boxes, strides, *settings):
    """What the kernel reads, each region from the level of FPN's rule."""
    return kernel(pyramid, boxes, levels_of(boxes, strides), strides, *settings)


def loops(pyramid, boxes, strides, size, sampling, aligned):
    pooled = []
    for picture, rows in enumerate(boxes.tolist()):
        for box in rows:
            level = loop_level(box, strides)
            pooled.append(loop_roi_align(pyramid[level][picture], box, strides[level], size, sampling, aligned))
    return torch.tensor(pooled, dtype=torch.float64)


@KERNELS
@BOTH_WAYS
@pytest.mark.parametrize(("size", "sampling"), [(2, 1), (2, 3), (7, 2), (1, 2)])
def test_one_level_agrees_with_the_loops(kernel, aligned, size, sampling):
    pyramid, boxes = pyramid_of(strides=(16,), channels=2), regions()
    expected = loops(pyramid, boxes, (16,), size, sampling, aligned)
    torch.testing.assert_close(read(kernel, pyramid, boxes, (16,), size, sampling, aligned), expected)


@KERNELS
@BOTH_WAYS
def test_a_pyramid_agrees_with_the_loops(kernel, aligned):
    pyramid, boxes = pyramid_of(channels=1, strides=(8, 16)), regions() * torch.tensor([1.0, 8.0])[:, None, None]
    assert set(levels_of(boxes, (8, 16)).flatten().tolist()) == {0, 1}
    expected = loops(pyramid, boxes, (8, 16), 2, 2, aligned)
    torch.testing.assert_close(read(kernel, pyramid, boxes, (8, 16), 2, 2, aligned), expected)


@KERNELS
@BOTH_WAYS
@pytest.mark.parametrize("size", [2, 7])
@pytest.mark.parametrize("sampling", [1, 2, 3])
def test_one_level_is_torchvisions(kernel, aligned, size, sampling):
    pyramid, boxes = pyramid_of(strides=(8,)), regions()
    expected = torchvision_roi_align(pyramid[0], list(boxes), size, 1 / 8, sampling, aligned)
    torch.testing.assert_close(read(kernel, pyramid, boxes, (8,), size, sampling, aligned), expected)


@KERNELS
def test_a_pyramid_is_torchvisions(kernel):
    canvas = (192, 256)
    pyramid = pyramid_of(canvas=canvas, dtype=torch.float32)
    generator = torch.Generator().manual_seed(1)
    corner, side = torch.rand(2, 40, 2, generator=generator) * 200, torch.rand(2, 40, 1, generator=generator)
    boxes = torch.cat((corner, corner + 2 ** (1 + side * 9) * torch.rand(2, 40, 2, generator=generator)), dim=-1)
    assert set(levels_of(boxes, STRIDES).flatten().tolist()) == {0, 1, 2, 3}
    pooler = MultiScaleRoIAlign(["0", "1", "2", "3"], output_size=7, sampling_ratio=2)
    named = OrderedDict((str(i), level) for i, level in enumerate(pyramid))
    expected = pooler(named, list(boxes), [canvas] * 2)
    torch.testing.assert_close(read(kernel, pyramid, boxes, STRIDES), expected, rtol=1e-4, atol=1e-5)


@KERNELS
@pytest.mark.parametrize(("pictures", "count"), [(0, 4), (2, 0), (0, 0)])
def test_no_pictures_or_no_regions_give_no_features(kernel, pictures, count):
    pooled = read(kernel, pyramid_of(pictures), torch.zeros(pictures, count, 4), STRIDES, 7)
    assert pooled.shape == (0, 3, 7, 7)


def test_no_regions_give_a_gradient_of_zero():
    pyramid = [level.requires_grad_() for level in pyramid_of()]
    read(roi_align, pyramid, torch.zeros(2, 0, 4), STRIDES).sum().backward()
    assert all(level.grad is not None and not level.grad.any() for level in pyramid)


@KERNELS
@BOTH_WAYS
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_region_that_is_not_finite_leaves_the_others_alone(kernel, aligned, value):
    pyramid, boxes = pyramid_of(), regions()
    expected = read(kernel, pyramid, boxes, STRIDES, 2, 2, aligned)
    boxes[0, 3], boxes[1, 0, 2] = value, value
    pooled = read(kernel, pyramid, boxes, STRIDES, 2, 2, aligned)
    broken = torch.zeros(18, dtype=torch.bool)
    broken[[3, 9]] = True
    assert torch.equal(pooled[~broken], expected[~broken])
    assert pooled.isfinite().all()
    assert not pooled[3].any()
    if math.isnan(value):
        assert not pooled[9].any()


@KERNELS
def test_poisoned_memory_does_not_show(kernel):
    with poisoned_memory():
        pyramid = [level.requires_grad_() for level in pyramid_of()]
        pooled = read(kernel, pyramid, regions(), STRIDES, 3)
        grads = torch.autograd.grad(pooled.square().sum(), pyramid, materialize_grads=True)
    calm = read(kernel, pyramid, regions(), STRIDES, 3)
    assert torch.equal(pooled, calm)
    torch.testing.assert_close(grads, torch.autograd.grad(calm.square().sum(), pyramid, materialize_grads=True))


@BOTH_WAYS
@pytest.mark.parametrize(("size", "sampling"), [(2, 3), (7, 2), (3, 1)])
def test_gradients_are_those_of_the_reference(aligned, size, sampling):
    pyramid = [level.requires_grad_() for level in pyramid_of()]
    cotangent = torch.randn(18, 3, size, size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    grads = []
    for kernel in (roi_align, roi_align_reference):
        pooled = read(kernel, pyramid, regions(), STRIDES, size, sampling, aligned)
        grads.append(torch.autograd.grad(pooled, pyramid, cotangent, materialize_grads=True))
    torch.testing.assert_close(*grads)


@BOTH_WAYS
def test_gradients_are_those_of_finite_differences(aligned):
    pyramid = [level.requires_grad_() for level in pyramid_of(channels=1, canvas=(24, 40), strides=(8, 16))]
    boxes = torch.tensor([[[1.0, 2.0, 23.0, 19.5], [-9.0, 3.0, 300.0, 300.0]]] * 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *levels: read(roi_align, levels, boxes, (8, 16), 2, 2, aligned), pyramid)


def box_scene(dtype=torch.float64):
    """A pyramid and boxes, on it and beyond, with no sample on a cell, where the slope changes."""
    boxes = [[1.3, 2.1, 23.7, 19.9], [-9.4, 3.3, 34.1, 28.7], [12.3, 12.6, 13.1, 14.2], [4.9, 6.1, 29.3, 15.7]]
    pyramid = pyramid_of(channels=2, canvas=(24, 40), strides=(8, 16), dtype=dtype)
    return pyramid, torch.tensor([boxes[:2], boxes[2:]], dtype=dtype), torch.tensor([[0, 1], [0, 1]])


@BOTH_WAYS
def test_gradients_of_boxes_are_those_of_finite_differences(aligned):
    pyramid, boxes, levels = box_scene()
    inputs = [boxes.requires_grad_(), *(level.requires_grad_() for level in pyramid)]
    pooled = lambda boxes, *maps: roi_align(maps, boxes, levels, (8, 16), 2, 2, aligned)  # noqa: E731
    assert torch.autograd.gradcheck(pooled, inputs)


@BOTH_WAYS
def test_gradients_of_boxes_are_those_of_the_reference(aligned):
    pyramid, boxes = pyramid_of(), regions()
    boxes.requires_grad_()
    cotangent = torch.randn(18, 3, 3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    grads = [
        torch.autograd.grad(read(kernel, pyramid, boxes, STRIDES, 3, 2, aligned), boxes, cotangent)
        for kernel in (roi_align, roi_align_reference)
    ]
    assert grads[0][0].any()
    torch.testing.assert_close(*grads)


def test_gradients_of_boxes_that_are_not_finite_are_zero():
    boxes = regions()
    boxes[0, 3], boxes[1, 0] = math.nan, math.inf
    boxes.requires_grad_()
    read(roi_align, pyramid_of(), boxes, STRIDES).sum().backward()
    assert boxes.grad is not None
    assert boxes.grad.isfinite().all()
    assert not boxes.grad[0, 3].any()


@pytest.mark.parametrize(
    ("dtype", "near"), [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 0.02), (torch.float16, 0.003)]
)
def test_boxes_with_and_without_a_gradient_give_the_same_features_and_gradients(dtype, near):
    maps, boxes, levels = box_scene(torch.float64 if dtype == torch.float64 else torch.float32)
    pyramid = [level.to(dtype).requires_grad_() for level in maps]
    results = []
    for regions_ in (boxes, boxes.clone().requires_grad_()):
        pooled = roi_align(pyramid, regions_, levels, (8, 16))
        assert pooled.dtype == dtype
        assert pooled.is_contiguous(memory_format=torch.channels_last)
        results.append([pooled, *torch.autograd.grad(pooled.sum(), pyramid)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=near, atol=near)


def test_no_gradient_is_kept_where_none_is_asked_for():
    pyramid, boxes, levels = box_scene()
    with torch.no_grad():
        assert not roi_align(pyramid, boxes.requires_grad_(), levels, (8, 16)).requires_grad


@pytest.mark.parametrize("moving", [False, True])
def test_it_compiles_as_one_graph(moving):
    pyramid, boxes, levels = box_scene()
    boxes.requires_grad_(moving)
    compiled = torch.compile(roi_align, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        compiled(pyramid, boxes, levels, (8, 16)), roi_align(pyramid, boxes, levels, (8, 16)), rtol=1e-12, atol=1e-12
    )


def test_strides_need_not_be_powers_of_two():
    pyramid, boxes = pyramid_of(strides=(16,)), regions() * 2.5
    expected = read(roi_align, pyramid, regions(), (16,))
    torch.testing.assert_close(roi_align(pyramid, boxes, torch.zeros(2, 9, dtype=torch.int64), (40.0,)), expected)
    thirds = roi_align(pyramid, boxes / 3, torch.zeros(2, 9, dtype=torch.int64), (40 / 3,))
    torch.testing.assert_close(thirds, expected)


def test_a_picture_alone_gives_what_it_gives_in_a_batch():
    pyramid, boxes = pyramid_of(dtype=torch.float32), regions(dtype=torch.float32)
    together = read(roi_align, pyramid, boxes, STRIDES).unflatten(0, (2, -1))
    for picture in range(2):
        alone = read(
            roi_align, [level[picture : picture + 1] for level in pyramid], boxes[picture : picture + 1], STRIDES
        )
        assert torch.equal(alone, together[picture])


def test_half_precision_is_near_full_precision_in_values_and_gradients():
    pyramid = pyramid_of(dtype=torch.float32)
    boxes = regions(dtype=torch.float32)
    half = [level.bfloat16().requires_grad_() for level in pyramid]
    full = [level.detach().float().requires_grad_() for level in half]
    pooled, expected = read(roi_align, half, boxes, STRIDES), read(roi_align, full, boxes, STRIDES)
    assert pooled.dtype == torch.bfloat16
    torch.testing.assert_close(pooled.float(), expected, rtol=0.02, atol=0.02)
    for level, other in zip(
        torch.autograd.grad(pooled.sum(), half), torch.autograd.grad(expected.sum(), full), strict=True
    ):
        assert (level.float() - other).abs().max() <= 0.01 * other.abs().max()


@pytest.mark.parametrize("boxes_learn", [False, True])
def test_the_gradient_of_very_many_samples_is_made_of_a_few_channels_at_a_time(monkeypatch, boxes_learn):
    def gradient():
        level = torch.linspace(-1, 1, 100 * 30, dtype=torch.bfloat16).view(1, 100, 5, 6).requires_grad_()
        boxes = regions(dtype=torch.float32)[:1].requires_grad_(boxes_learn)
        weights = torch.linspace(0, 1, 900).view(9, 100, 1, 1)
        (read(roi_align, [level], boxes, (8,), 2) * weights).sum().backward()
        return level.grad

    whole, widths, module = gradient(), [], sys.modules["rcnn.ops.roi_align"]
    counting = lambda *sizes: widths.append(_channels_at_once(*sizes)) or widths[-1]  # noqa: E731
    monkeypatch.setattr(module, "_channels_at_once", counting)
    monkeypatch.setattr(module, "MOST_THREADS", 64 * (9 * 4 * 16 // 10 + 30))
    assert torch.equal(gradient(), whole)
    assert widths == [64]


def test_the_gradient_of_many_regions_on_one_cell_is_not_lost_in_half_precision():
    level = torch.zeros(1, 1, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    boxes = torch.tensor([0.0, 0.0, 32.0, 32.0]).expand(1, 3000, 4)
    read(roi_align, [level], boxes, (8,), 1).sum().backward()
    assert level.grad is not None
    assert level.grad.sum().item() == pytest.approx(3000, rel=0.01)


def test_the_result_is_laid_out_channels_last():
    pooled = read(roi_align, pyramid_of(), regions(), STRIDES)
    assert pooled.is_contiguous(memory_format=torch.channels_last)


def test_the_operator_keeps_its_contract_with_pytorch():
    pyramid = [level.requires_grad_() for level in pyramid_of(channels=2, strides=(8, 16))]
    arguments = (pyramid, regions(), levels_of(regions(), (8, 16)), [8.0, 16.0], 2, 2, False)
    torch.library.opcheck(torch.ops.rcnn.roi_align.default, arguments)


def test_the_gradients_operator_keeps_its_contract_with_pytorch():
    grad = torch.randn(18, 2, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shapes = [n for level in pyramid_of(strides=(8, 16)) for n in level.shape[2:]]
    arguments = (grad, regions(), levels_of(regions(), (8, 16)), shapes, [8.0, 16.0], 2, 2, True)
    torch.library.opcheck(torch.ops.rcnn.roi_align_backward.default, arguments)


def test_fake_tensors_on_a_gpu_have_the_right_shapes():
    with FakeTensorMode():
        pyramid = [torch.empty(2, 3, 16 // n, 24 // n, device="cuda") for n in (1, 2)]
        boxes = torch.empty(2, 5, 4, device="cuda")
        levels = torch.zeros(2, 5, device="cuda", dtype=torch.int64)
        pooled = roi_align(pyramid, boxes, levels, (8, 16), 3)
        moved = roi_align(pyramid, boxes.clone().requires_grad_(), levels, (8, 16), 3)
        shapes = [n for level in pyramid for n in level.shape[2:]]
        table = torch.ops.rcnn.roi_align_backward(pooled, boxes, levels, shapes, [8, 16], 3, 2, False)
    assert pooled.shape == moved.shape == (10, 3, 3, 3)
    assert pooled.is_contiguous(memory_format=torch.channels_last)
    assert moved.stride() == pooled.stride()
    assert table.shape == (2 * (16 * 24 + 8 * 12), 3)
    assert pooled.device.type == table.device.type == "cuda"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_would_be_read_beyond_the_pyramid_is_refused(dtype):
    pyramid = [torch.rand(1, 2, 4, 6, dtype=dtype), torch.rand(1, 2, 2, 3, dtype=dtype)]
    boxes, levels = torch.tensor([[[0.0, 0.0, 8.0, 8.0]]]), torch.tensor([[1]])

    def refused(words, pyramid=pyramid, boxes=boxes, levels=levels):
        with pytest.raises(ValueError, match=words):
            torch.ops.rcnn.roi_align(pyramid, boxes, levels, [4.0, 8.0], 7, 2, False)

    refused("level is not in the pyramid", levels=levels + 1)
    refused("level is not in the pyramid", levels=levels - 2)
    refused("pictures and channels", [pyramid[0], pyramid[1][:, :1]])
    refused("pictures and channels", boxes=boxes.repeat(2, 1, 1), levels=levels.repeat(2, 1))
    refused("need cells", [pyramid[0], pyramid[1][:, :, :0]])
    refused("not those of the regions", boxes=boxes.repeat(1, 2, 1))
