"""The grid of anchors, against torchvision's."""

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from rcnn.anchors import AnchorGrid, anchor_shapes

RATIOS = (0.5, 1.0, 2.0)
PYRAMID = ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))
STRIDES = (4, 8, 16, 32, 64)


def shapes_on(canvas, strides):
    return [tuple(-(-side // stride) for side in canvas) for stride in strides]


def torchvisions(canvas, shapes, sizes, ratios):
    features = [torch.zeros(1, 1, *shape) for shape in shapes]
    images = ImageList(torch.zeros(1, 3, *canvas), [canvas])
    return AnchorGenerator(tuple(sizes), (tuple(ratios),) * len(sizes))(images, features)[0]


@pytest.mark.parametrize("canvas", [(64, 64), (97, 65), (200, 333), (31, 129)])
def test_anchors_of_a_pyramid_are_torchvisions(canvas):
    shapes = shapes_on(canvas, STRIDES)
    anchors = AnchorGrid(PYRAMID, RATIOS)(shapes, canvas)
    assert torch.equal(anchors.boxes, torchvisions(canvas, shapes, PYRAMID, RATIOS))
    assert anchors.counts == tuple(3 * h * w for h, w in shapes)


@pytest.mark.parametrize("canvas", [(37, 50), (16, 16)])
def test_anchors_of_one_level_with_many_sizes_are_torchvisions(canvas):
    sizes, shapes = ((16.0, 100.0, 33.0),), shapes_on(canvas, (16,))
    anchors = AnchorGrid(sizes, (0.3, 1.0))(shapes, canvas)
    assert torch.equal(anchors.boxes, torchvisions(canvas, shapes, sizes, (0.3, 1.0)))


def test_every_anchor_knows_its_level():
    anchors = AnchorGrid(PYRAMID[:2], RATIOS)([(2, 3), (1, 2)], (8, 12))
    assert anchors.levels().tolist() == [0] * 18 + [1] * 6


def test_shapes_keep_the_area_and_are_whole_pixels():
    shapes = anchor_shapes((128.0,), RATIOS)
    sides = shapes[:, 2:] - shapes[:, :2]
    assert torch.equal(shapes, shapes.round())
    torch.testing.assert_close(sides.prod(dim=1), torch.full((3,), 128.0**2), rtol=0.02, atol=0)
    torch.testing.assert_close(sides[:, 1] / sides[:, 0], torch.tensor(RATIOS), rtol=0.02, atol=0)


def test_a_picture_takes_part_with_the_same_anchors_on_every_canvas():
    grid, sizes = AnchorGrid(PYRAMID, RATIOS), torch.tensor([[40, 70]])

    def taking_part(canvas):
        anchors = grid(shapes_on(canvas, STRIDES), canvas)
        return anchors.boxes[anchors.inside(sizes)[0]]

    small, large = taking_part((64, 128)), taking_part((192, 256))
    assert len(small) < len(grid(shapes_on((64, 128), STRIDES), (64, 128)).boxes)
    assert torch.equal(small, large)


def test_each_picture_of_a_batch_has_its_own_inside():
    anchors = AnchorGrid(((8.0,),), (1.0,))([(4, 4)], (64, 64))
    inside = anchors.inside(torch.tensor([[64, 64], [10, 33], [0, 0]]))
    assert inside.sum(dim=1).tolist() == [16, 8, 0]
    assert anchors.origins[inside[1]].amax(dim=0).tolist() == [48.0, 16.0]
