"""This library's operators in those of ONNX: what NonMaxSuppression and RoiAlign make of `rcnn.ops`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

import rcnn.ops  # noqa: F401  (registers the operators)

Value = Any
"""A value of an ONNX graph; onnxscript makes it."""

FLOAT = 1
"""ONNX's number of the type float32."""
ABSENT = -1e30
"""The score of what takes no part; NonMaxSuppression passes over all below half of it."""


def translations() -> Mapping[Callable[..., Any], Callable[..., Any]]:
    """What stands in an ONNX graph for each of this library's operators."""
    operators = torch.ops.rcnn
    return {operators.nms.default: nms, operators.roi_align.default: roi_align, operators.bin_max.default: bin_max}


def nms(boxes: Value, scores: Value, groups: Value, valid: Value, threshold: float, k: int) -> tuple[Value, Value]:
    """`rcnn.ops.nms`: one NonMaxSuppression with a class for each group, then the best of all groups together.

    It gives rows, as many as survive; a table of scores that holds these alone makes their number fixed again.
    TopK takes the first of equal scores, as `rcnn.ops.nms` does; OpenVINO's takes any.
    """
    op = _operators()

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
    op = _operators()

    flat, picture = op.Reshape(boxes, _integers(op, -1, 4)), _picture_of(op, levels)

    def read(features: Value, number: int, here: Value) -> Value:
        return op.RoiAlign(
            features,
            op.Gather(flat, here),
            op.Gather(picture, here),
            output_height=size,
            output_width=size,
            sampling_ratio=sampling,
            spatial_scale=1 / strides[number],
            coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        )

    return _by_level(op, pyramid, levels, read)


def bin_max(pyramid: Sequence[Value], levels: Value, bins: Value) -> tuple[Value, Value]:
    """`rcnn.ops.bin_max`: each bin is a region of its own, of one bin, to MaxRoiPool.

    (Whole regions would get bounds in floating point, which are not SPPnet's.) No graph reads the winners, which
    gradients need: a number stands for them.
    """
    op = _operators()

    top, bottom, left, right = op.Split(bins, axis=3, num_outputs=4)  # [B, P, K, 1]
    one = _integer(op, 1)
    corners = op.Concat(left, top, op.Sub(right, one), op.Sub(bottom, one), axis=3)
    flat = op.Cast(op.Flatten(corners, axis=2), to=FLOAT)  # [B * P, K * 4]
    count = op.Shape(bins, start=2, end=3)
    picture = _picture_of(op, levels)

    def read(features: Value, _: int, here: Value) -> Value:
        own = op.Reshape(op.Gather(flat, here), op.Concat(_integers(op, -1), count, _integers(op, 4), axis=0))
        pictures = op.Cast(op.Unsqueeze(op.Gather(picture, here), _integers(op, 1, 2)), to=FLOAT)
        pictures = op.Expand(pictures, op.Concat(op.Shape(own, start=0, end=2), _integers(op, 1), axis=0))
        regions = op.Reshape(op.Concat(pictures, own, axis=2), _integers(op, -1, 5))
        largest = op.MaxRoiPool(features, regions, pooled_shape=[1, 1])  # [r * K, C, 1, 1]
        channels = op.Shape(features, start=1, end=2)
        return op.Reshape(largest, op.Concat(_integers(op, -1), count, channels, axis=0))

    largest = op.Transpose(_by_level(op, pyramid, levels, read), perm=[0, 2, 1])  # [B * P, C, K]
    empty = op.Or(op.LessOrEqual(bottom, top), op.LessOrEqual(right, left))
    blank = op.Reshape(empty, op.Concat(_integers(op, -1, 1), count, axis=0))
    return op.Where(blank, _number(op, 0.0), largest), one


def _by_level(op: Any, pyramid: Sequence[Value], levels: Value, read: Callable[[Value, int, Value], Value]) -> Value:
    """What `read` gives for the regions of each level, whose numbers it is told, put back into the regions' order."""
    level = op.Reshape(levels, _integers(op, -1))
    places = [op.Reshape(op.NonZero(op.Equal(level, _integer(op, n))), _integers(op, -1)) for n in range(len(pyramid))]
    pooled = [read(features, n, here) for n, (features, here) in enumerate(zip(pyramid, places, strict=True))]
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


def _operators() -> Any:
    """ONNX's, whose own types do not admit a value that may be of several."""
    from onnxscript import opset18

    return opset18


def _integer(op: Any, value: int) -> Value:
    return op.Constant(value_int=value)


def _integers(op: Any, *values: int) -> Value:
    return op.Constant(value_ints=list(values))


def _number(op: Any, value: float) -> Value:
    return op.Constant(value_float=value)
