"""This library's operators in those of ONNX: what NonMaxSuppression and RoiAlign make of `rcnn.ops`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

import rcnn.ops  # noqa: F401  (registers the operators)

Value = Any
"""A value of an ONNX graph; onnxscript makes it."""

ABSENT = -1e30
"""The score of what takes no part; NonMaxSuppression passes over all below half of it."""


def translations() -> Mapping[Callable[..., Any], Callable[..., Any]]:
    """What stands in an ONNX graph for each of this library's operators."""
    return {torch.ops.rcnn.nms.default: nms, torch.ops.rcnn.roi_align.default: roi_align}  # type: ignore[dict-item]


def nms(
    boxes: Value, scores: Value, groups: Value, valid: Value, threshold: float, k: int
) -> tuple[Value, Value]:
    """`rcnn.ops.nms`: one NonMaxSuppression with a class for each group, then the best of all groups together.

    It gives rows, as many as survive; a table of scores that holds these alone makes their number fixed again.
    TopK takes the first of equal scores, as `rcnn.ops.nms` does.
    """
    from onnxscript import opset18 as op

    kept = _survivors(op, boxes, _by_group(op, scores, groups, valid), threshold, k)  # [M, 2]: picture, box
    alone = op.ScatterND(op.Expand(_number(op, ABSENT), op.Shape(scores)), kept, op.GatherND(scores, kept))
    padded = op.Pad(alone, _integers(op, 0, 0, 0, k), _number(op, ABSENT))
    best, index = op.TopK(padded, _integers(op, k), axis=1)
    filled = op.Greater(best, _number(op, ABSENT / 2))
    return op.Where(filled, index, op.Constant(value_int=0)), filled


def _by_group(op: Any, scores: Value, groups: Value, valid: Value) -> Value:
    """The scores [B, groups, N], absent where a box is of another group or takes no part."""
    groups_there = op.Range(_integer(op, 0), op.Add(op.ReduceMax(groups, keepdims=0), _integer(op, 1)), _integer(op, 1))
    same = op.Equal(op.Unsqueeze(groups, _integers(op, 1)), op.Unsqueeze(groups_there, _integers(op, 0, 2)))
    finite = op.Not(op.Or(op.IsInf(scores), op.IsNaN(scores)))
    shown = op.And(same, op.Unsqueeze(op.And(valid, finite), _integers(op, 1)))
    return op.Where(shown, op.Unsqueeze(scores, _integers(op, 1)), _number(op, ABSENT))


def _survivors(op: Any, boxes: Value, scores: Value, threshold: float, k: int) -> Value:
    least = op.Constant(value_floats=[ABSENT / 2])
    rows = op.NonMaxSuppression(boxes, scores, _integers(op, k), op.Constant(value_floats=[threshold]), least)
    return op.Gather(rows, _integers(op, 0, 2), axis=1)


def roi_align(
    pyramid: Sequence[Value],
    boxes: Value,
    levels: Value,
    strides: Sequence[float],
    size: int,
    sampling: int,
    aligned: bool,
) -> Value:
    """`rcnn.ops.roi_align`: a RoiAlign for each level, of its own regions alone, put back into their order."""
    from onnxscript import opset18 as op

    flat, level = op.Reshape(boxes, _integers(op, -1, 4)), op.Reshape(levels, _integers(op, -1))
    picture = _picture_of(op, levels)
    places = [_places(op, level, number) for number in range(len(pyramid))]
    pooled = [
        op.RoiAlign(
            features,
            op.Gather(flat, here),
            op.Gather(picture, here),
            output_height=size,
            output_width=size,
            sampling_ratio=sampling,
            spatial_scale=1 / stride,
            coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        )
        for features, stride, here in zip(pyramid, strides, places, strict=True)
    ]
    if len(pooled) == 1:
        return pooled[0]
    order = op.Concat(*places, axis=0)
    _, back = op.TopK(order, op.Shape(order), axis=0, largest=0)
    return op.Gather(op.Concat(*pooled, axis=0), back, axis=0)


def _picture_of(op: Any, levels: Value) -> Value:
    """The number of the picture that each region is of, [B * P]."""
    count = op.Squeeze(op.Shape(levels, start=0, end=1))
    numbers = op.Unsqueeze(op.Range(_integer(op, 0), count, _integer(op, 1)), _integers(op, 1))
    return op.Reshape(op.Expand(numbers, op.Shape(levels)), _integers(op, -1))


def _places(op: Any, level: Value, number: int) -> Value:
    return op.Reshape(op.NonZero(op.Equal(level, _integer(op, number))), _integers(op, -1))


def _integer(op: Any, value: int) -> Value:
    return op.Constant(value_int=value)


def _integers(op: Any, *values: int) -> Value:
    return op.Constant(value_ints=list(values))


def _number(op: Any, value: float) -> Value:
    return op.Constant(value_float=value)
