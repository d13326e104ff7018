"""Which level a region is read from, and where the cells of a level stand in the table."""

import pytest
import torch
from oracles import loop_level

from rcnn.ops.levels import level_geometry, levels_of, maps_of, shapes_of, table_of

STRIDES = (4, 8, 16, 32)


def test_levels_are_the_loops_at_their_edges():
    sides = [224 * 2.0**k for k in range(-5, 4)]
    boxes = torch.tensor(
        [[0, 0, s + d, s + d] for s in sides for d in (-0.5, -3e-7 * s, 0, 0.5)] + [[5.0, 5, 5, 5], [9, 9, 1, 1]]
    )
    assert levels_of(boxes, STRIDES).tolist() == [loop_level(box, STRIDES) for box in boxes.tolist()]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_box_that_is_not_finite_has_a_level(value):
    boxes = torch.tensor([[value, 0, 50, 50], [0, 0, value, 50], [value] * 4])
    levels = levels_of(boxes, STRIDES)
    assert ((levels >= 0) & (levels < 4)).all()


def test_the_only_level_may_have_any_stride():
    assert levels_of(torch.tensor([[0.0, 0, 9, 9], [0, 0, 900, 900]]), (40 / 3,)).tolist() == [0, 0]


def test_the_table_turns_back_into_the_pyramid():
    pyramid = [torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0)) for shape in ((4, 6), (2, 3))]
    table = table_of(pyramid)
    assert table.shape == (2, 30, 3)
    for level, again in zip(pyramid, maps_of(table.flatten(0, 1), shapes_of(pyramid)), strict=True):
        assert torch.equal(level, again)


def test_the_geometry_names_the_rows_of_the_table():
    pyramid = [torch.randn(1, 3, *shape, generator=torch.Generator().manual_seed(0)) for shape in ((4, 6), (2, 3))]
    height, width, first, stride = level_geometry(shapes_of(pyramid), (8, 40 / 3), torch.tensor([1, 0]), torch.float64)
    assert torch.equal(
        table_of(pyramid)[0, first + width], torch.stack([pyramid[1][0, :, 1, 0], pyramid[0][0, :, 1, 0]])
    )
    assert (height.tolist(), width.tolist(), stride.tolist()) == ([2, 4], [3, 6], [40 / 3, 8.0])
