"""Exported files whose answers can be told beforehand, made by hand: they find what is bright.

The best detection of a picture is the rectangle around its pixels above 200, a `cold` object if its blue is above its
red and a `warm` one otherwise, its score the brightest value as a share of 255. The second is the `whole` picture, with
a score of 0.3. A picture without a bright pixel has none. With regions from outside the one detection is the largest
corner of all, its score the number of valid regions.
"""

import json

import numpy as np
import torch

from rcnn.export import torch_program

CLASSES = ("warm", "cold", "whole")
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.25)

_STORY = """
    peak = ReduceMax<keepdims=0>(values, last)
    two_hundred = Constant<value_float=200.0>()
    nothing = Constant<value_float=0.0>()
    far = Constant<value_float=1000000.0>()
    one = Constant<value_float=1.0>()
    is_bright = Greater(peak, two_hundred)
    bright = Cast<to=1>(is_bright)
    rows = ReduceMax<keepdims=0>(bright, last_of_three)
    columns = ReduceMax<keepdims=0>(bright, second)
    row_shape = Shape<start=1>(rows)
    column_shape = Shape<start=1>(columns)
    height = Squeeze(row_shape)
    width = Squeeze(column_shape)
    zero = Constant<value_int=0>()
    step = Constant<value_int=1>()
    row_numbers = Range(zero, height, step)
    column_numbers = Range(zero, width, step)
    y = Cast<to=1>(row_numbers)
    x = Cast<to=1>(column_numbers)
    y_next = Add(y, one)
    x_next = Add(x, one)
    row_lit = Greater(rows, nothing)
    column_lit = Greater(columns, nothing)
    y_first = Where(row_lit, y, far)
    y_last = Where(row_lit, y_next, nothing)
    x_first = Where(column_lit, x, far)
    x_last = Where(column_lit, x_next, nothing)
    y1 = ReduceMin<keepdims=1>(y_first, second)
    y2 = ReduceMax<keepdims=1>(y_last, second)
    x1 = ReduceMin<keepdims=1>(x_first, second)
    x2 = ReduceMax<keepdims=1>(x_last, second)
    found = Concat<axis=1>(x1, y1, x2, y2)
    originals = Cast<to=1>(original_sizes)
    shown = Cast<to=1>(sizes)
    scale = Div(originals, shown)
    turned = Constant<value_ints=[1, 0, 1, 0]>()
    scales = Gather<axis=1>(scale, turned)
    in_original = Mul(found, scales)
    corners = Gather<axis=1>(originals, turned)
    keep_last = Constant<value_floats=[0.0, 0.0, 1.0, 1.0]>()
    all_of_it = Mul(corners, keep_last)
    empty = Mul(all_of_it, nothing)
    best_box = Unsqueeze(in_original, second)
    second_box = Unsqueeze(all_of_it, second)
    third_box = Unsqueeze(empty, second)
    raw_boxes = Concat<axis=1>(best_box, second_box, third_box)
    any_bright = Greater(y2, nothing)
    present = Cast<to=1>(any_bright)
    some_boxes = Unsqueeze(present, second)
    is_some = Greater(some_boxes, nothing)
    boxes = Where(is_some, raw_boxes, nothing)
    top = ReduceMax<keepdims=0>(peak, both)
    full = Constant<value_float=255.0>()
    share = Div(top, full)
    best_score = Unsqueeze(share, second)
    less = Constant<value_float=0.3>()
    second_score = Mul(present, less)
    third_score = Mul(present, nothing)
    raw_scores = Concat<axis=1>(best_score, second_score, third_score)
    scores = Mul(raw_scores, present)
    colours = ReduceMax<keepdims=0>(values, both)
    at_red = Constant<value_ints=[0]>()
    at_blue = Constant<value_ints=[2]>()
    red = Gather<axis=1>(colours, at_red)
    blue = Gather<axis=1>(colours, at_blue)
    is_cold = Greater(blue, red)
    cold = Cast<to=7>(is_cold)
    there = Cast<to=7>(any_bright)
    best_label = Add(cold, step)
    three = Constant<value_int=3>()
    second_label = Mul(there, three)
    third_label = Mul(there, zero)
    raw_labels = Concat<axis=1>(best_label, second_label, third_label)
    labels = Mul(raw_labels, there)
    two = Constant<value_int=2>()
    counts = Mul(there, two)
    count = Squeeze(counts, second)
"""
_START = """
    last = Constant<value_ints=[3]>()
    last_of_three = Constant<value_ints=[2]>()
    second = Constant<value_ints=[1]>()
    both = Constant<value_ints=[1, 2]>()
"""
_VALUES = {
    "uint8": "values = Cast<to=1>(images)",
    "normalised": """
    last_channel = Transpose<perm=[0, 2, 3, 1]>(images)
    std = Constant<value_floats=[0.25, 0.2, 0.25]>()
    mean = Constant<value_floats=[0.5, 0.4, 0.3]>()
    spread = Mul(last_channel, std)
    from_zero = Add(spread, mean)
    eight_bits = Constant<value_float=255.0>()
    values = Mul(from_zero, eight_bits)""",
    "picture": """
    first = Constant<value_ints=[0]>()
    batched = Unsqueeze(images, first)
    values = Cast<to=1>(batched)
    whole_shape = Shape<start=1, end=3>(batched)
    sizes = Unsqueeze(whole_shape, first)
    original_sizes = Identity(sizes)""",
}
_OUTPUTS = {
    "boxes": "float[B, 3, 4] boxes",
    "scores": "float[B, 3] scores",
    "labels": "int64[B, 3] labels",
    "count": "int64[B] count",
}
_REGIONS = """
    around_low = ReduceMin<keepdims=0>(proposals, second)
    around_high = ReduceMax<keepdims=0>(proposals, second)
    ints = Cast<to=7>(proposals_valid)
    how_many = ReduceSum<keepdims=0>(ints, second)
    more = Cast<to=1>(how_many)
    pixels = Constant<value_ints=[1, 2, 3]>()
    glow = ReduceMax<keepdims=0>(values, pixels)
    no_light = Sub(glow, glow)
    seen = Add(more, no_light)
    scores_flat = Unsqueeze(seen, second)
    originals = Cast<to=1>(original_sizes)
    shown = Cast<to=1>(sizes)
    scale = Div(originals, shown)
    turned = Constant<value_ints=[1, 0, 1, 0]>()
    scales = Gather<axis=1>(scale, turned)
    low = Mul(around_low, scales)
    high = Mul(around_high, scales)
    low_box = Unsqueeze(low, second)
    high_box = Unsqueeze(high, second)
    boxes = Concat<axis=1>(high_box, low_box, low_box)
    scores = Concat<axis=1>(scores_flat, scores_flat, scores_flat)
    whole = Cast<to=7>(scores)
    naught = Sub(whole, whole)
    unit = Constant<value_int=1>()
    labels = Add(naught, unit)
    plain = Sub(how_many, how_many)
    count = Add(plain, unit)
"""


def metadata(kind="uint8", batch=None, proposals=None, **changes):
    """What is agreed that an exported file says of itself."""
    seen = {
        "kind": kind,
        "short": 64,
        "long": 96,
        "bucket": "coarse",
        "resize": "bilinear",
        "channels": 3,
        "mean": MEAN,
        "std": STD,
        "range": None,
        "max_pixels": 1_000_000,
    }
    about = {
        "format_version": 1,
        "method": "fast-rcnn" if proposals else "faster-rcnn",
        "class_names": CLASSES,
        "category_ids": {"warm": 7, "cold": 8, "whole": 9},
        "thresholds": {},
        "input": seen | {key: value for key, value in changes.items() if key in seen},
        "batch": batch,
        "detections": 3,
        "score": 0.05,
        "proposals": proposals,
        "precision": "fp32",
        "config": {},
    }
    return about | {key: value for key, value in changes.items() if key not in seen}


def onnx_model(about, text=None):
    """The detector as an ONNX model, with its metadata, or another text in their place."""
    import onnx
    from onnx import parser

    kind, batch = about["input"]["kind"], about["batch"] or "B"
    images = {
        "uint8": f"uint8[{batch}, H, W, 3]",
        "normalised": f"float[{batch}, 3, H, W]",
        "picture": "uint8[h, w, 3]",
    }
    inputs = [f"{images[kind]} images"]
    if kind != "picture":
        inputs += [f"int64[{batch}, 2] sizes", f"int64[{batch}, 2] original_sizes"]
    story = _VALUES[kind] + _STORY
    if about["proposals"]:
        inputs += [f"float[{batch}, P, 4] proposals", f"bool[{batch}, P] proposals_valid"]
        story = _VALUES[kind] + _REGIONS
    head = '<ir_version: 8, opset_import: ["" : 18]>\ndetector'
    outputs = [_OUTPUTS[name] for name in about.get("outputs", _OUTPUTS)]
    model = parser.parse_model(f"{head} ({', '.join(inputs)}) => ({', '.join(outputs)})\n{{{_START}{story}}}")
    onnx.checker.check_model(model)
    if text != "":
        onnx.helper.set_model_props(model, {"rcnn": json.dumps(about) if text is None else text})
    return model


def write_onnx(path, about=None, text=None):
    """The detector as an .onnx file."""
    path.write_bytes(onnx_model(about or metadata(), text).SerializeToString())
    return path


def write_openvino(path, about=None, text=None):
    """The detector as a pair of .xml and .bin."""
    import openvino

    about = about or metadata()
    model = openvino.Core().read_model(onnx_model(about).SerializeToString())
    if text != "":
        model.set_rt_info(json.dumps(about) if text is None else text, "rcnn")
    openvino.save_model(model, path, compress_to_fp16=False)
    return path


def write_exported(path, about=None):
    """The detector as a file of the kind that its suffix tells."""
    return (write_onnx if path.suffix == ".onnx" else write_openvino)(path, about)


def bright(size, box, colour=(250, 40, 40)):
    """A dim picture of height and width with a bright rectangle."""
    picture = np.full((*size, 3), 30, np.uint8)
    x1, y1, x2, y2 = box
    picture[y1:y2, x1:x2] = colour
    return picture


class Bright(torch.nn.Module):
    """The same detector in torch; its boxes go through the library's suppression."""

    def forward(self, images, sizes, original_sizes):
        values = images.float()
        lit = values.amax(3) > 200
        rows, columns = lit.any(2), lit.any(1)
        first, last = zip(*(_extent(line) for line in (columns, rows)), strict=True)
        scale = original_sizes / sizes
        box = torch.stack((*first, *last), 1) * scale[:, [1, 0, 1, 0]]
        whole = torch.cat((torch.zeros_like(original_sizes), original_sizes.flip(1)), 1).float()
        boxes = torch.stack((box, whole, whole), 1)
        there = lit.flatten(1).any(1)
        share = values.flatten(1).amax(1) / 255
        scores = torch.stack((share, torch.full_like(share, 0.3), torch.full_like(share, 0.2)), 1)
        groups = torch.arange(3).expand(images.shape[0], 3)
        valid = there[:, None] & (groups < 2)
        order, kept = torch.ops.rcnn.nms(boxes, scores, groups, valid, 0.5, 3)
        cold = values.amax((1, 2))[:, 2] > values.amax((1, 2))[:, 0]
        labels = torch.stack((1 + cold, torch.full_like(cold, 3, dtype=torch.int64), torch.zeros_like(there)), 1)
        found = boxes.gather(1, order[:, :, None].expand(-1, -1, 4)) * kept[:, :, None]
        scores, labels = (one.gather(1, order) * kept for one in (scores, labels.long()))
        return {"boxes": found, "scores": scores, "labels": labels, "count": kept.sum(1)}


def _extent(lit):
    """The first place of a line [B, N] that is lit, and the one after the last."""
    places = torch.arange(lit.shape[1], dtype=torch.float32)
    return torch.where(lit, places, 1e6).amin(1), torch.where(lit, places + 1, 0.0).amax(1)


def write_program(path, about=None, module=None):
    """The detector, or another module that is called like it, as a .pt2 file, as `rcnn export` writes one."""
    batch, side = torch.export.Dim("batch", min=1, max=64), torch.export.Dim
    sides = {1: 32 * side("h", min=1, max=64), 2: 32 * side("w", min=1, max=64)}
    shapes = {"images": {0: batch, **sides}, "sizes": {0: batch}, "original_sizes": {0: batch}}
    size = torch.tensor([[64, 80]] * 2)
    images = torch.zeros(2, 64, 96, 3, dtype=torch.uint8)
    inputs = {"images": images, "sizes": size, "original_sizes": size.clone()}  # one tensor twice is one input
    program = torch.export.export(module or Bright(), (), inputs, dynamic_shapes=shapes, strict=False)
    torch_program.write_program(program, path, about or metadata())
    return path
