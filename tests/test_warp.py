"""Warping against nested loops, and R-CNN's own numbers."""

import math

import pytest
import torch

from rcnn.heads.warp import warp


def loop_warp(image, box, size, context):
    """One region of one picture, [C, H, W]: sample points in the middle of each output pixel."""
    channels, height, width = image.shape
    cells, grow = image.tolist(), size / (size - 2 * context)
    sides = []
    for low, high in ((box[0], box[2]), (box[1], box[3])):
        centre, half = (low + high) / 2, (high - low) / 2 * grow  # of the whole box, however far it reaches outside
        sides.append((round(centre - half), round(centre + half)))
    (left, right), (top, bottom) = sides
    result = torch.zeros(channels, size, size, dtype=image.dtype)
    for c in range(channels):
        for row in range(size):
            for column in range(size):
                y = top + (row + 0.5) * (bottom - top) / size - 0.5  # in pixels' middles
                x = left + (column + 0.5) * (right - left) / size - 0.5
                result[c, row, column] = _bilinear(cells[c], y, x, height, width)
    return result


def _bilinear(cells, y, x, height, width):
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                total += cells[row][column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


BOXES = torch.tensor(
    [
        [[3.0, 4.0, 17.0, 9.0], [-6.5, -3.0, 8.0, 30.0], [20.0, 15.0, 40.0, 40.0], [0.3, 0.7, 23.6, 18.2]],
        [[5.0, 5.0, 6.0, 6.0], [50.0, 50.0, 60.0, 60.0], [0.0, 0.0, 0.0, 0.0], [10.2, 2.0, 11.9, 18.0]],
    ]
).double()


@pytest.mark.parametrize(("size", "context"), [(8, 0), (7, 1), (12, 3), (5, 2), (1, 0)])
def test_regions_are_those_of_nested_loops(size, context):
    images = torch.randn(2, 3, 19, 24, generator=torch.Generator().manual_seed(size)).double()
    crops = warp(images, BOXES, size, context)
    assert crops.shape == (8, 3, size, size)
    for picture in range(2):
        for number, box in enumerate(BOXES[picture].tolist()):
            expected = loop_warp(images[picture], box, size, context)
            torch.testing.assert_close(crops[picture * 4 + number], expected, atol=1e-9, rtol=1e-9)


def test_a_box_of_195_pixels_becomes_a_crop_of_227_pixel_for_pixel():
    image = torch.randn(1, 3, 300, 320, generator=torch.Generator().manual_seed(0))
    crop = warp(image, torch.tensor([[[40.0, 50.0, 235.0, 245.0]]]), 227, 16)[0]
    torch.testing.assert_close(crop, image[0, :, 34:261, 24:251], atol=1e-3, rtol=0)


def test_the_whole_box_sets_the_scale_though_only_a_part_is_seen():
    image = torch.randn(1, 3, 300, 320, generator=torch.Generator().manual_seed(1))
    crop = warp(image, torch.tensor([[[-100.0, -80.0, 95.0, 115.0]]]), 227, 16)[0]  # 195 pixels again
    torch.testing.assert_close(crop[:, 96:, 116:], image[0, :, :131, :111], atol=1e-3, rtol=0)
    assert not crop[:, :95].any()
    assert not crop[:, :, :115].any()


def test_the_aspect_ratio_is_ignored():
    rows = torch.arange(40.0)[:, None].expand(40, 40)
    crop = warp(rows.expand(1, 1, 40, 40), torch.tensor([[[10.0, 5.0, 20.0, 35.0]]]), 10, 0)[0, 0]
    torch.testing.assert_close(crop, (5.5 + 1.0 + 3 * torch.arange(10.0) - 0.5)[:, None].expand(10, 10))


def test_a_crop_does_not_depend_on_the_crops_beside_it():
    images = torch.randn(2, 3, 19, 24, generator=torch.Generator().manual_seed(2)).double()
    together = warp(images, BOXES, 9, 2)
    alone = torch.cat([warp(images[1:], BOXES[1:, i : i + 1], 9, 2) for i in range(4)])
    assert torch.equal(together[4:], alone)


@pytest.mark.parametrize("count", [0, 1])
def test_no_region_gives_no_crop(count):
    assert warp(torch.zeros(2, 3, 8, 8), torch.zeros(2, count, 4), 5, 1).shape == (2 * count, 3, 5, 5)


def test_the_pictures_gradient_is_that_of_finite_differences():
    images = torch.randn(2, 2, 7, 6, generator=torch.Generator().manual_seed(3)).double().requires_grad_()
    boxes = torch.tensor([[[1.0, 1.0, 5.0, 4.0]], [[-2.0, 2.0, 3.0, 9.0]]]).double()
    assert torch.autograd.gradcheck(lambda pixels: warp(pixels, boxes, 4, 1), (images,))
