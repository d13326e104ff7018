"""The resize in front of an ONNX detector: one picture of any size goes in, and nothing else."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rcnn.data.preprocess import Preprocess
from rcnn.errors import ConfigError

if TYPE_CHECKING:
    from onnx import ModelProto

JOINTS = {"laid_out": "images", "sizes": "sizes", "original_sizes": "original_sizes"}
"""What the resize gives, and what the detector takes it for."""


def with_resize(model: "ModelProto", preprocess: Preprocess) -> "ModelProto":
    """A detector that takes one picture as `images`, uint8 [h, w, C], made of one that takes normalised canvases.

    Raises ConfigError for a detector whose pictures Pillow resizes: no operator of ONNX rounds as it does.
    """
    from onnx.compose import add_prefix, merge_models

    if preprocess.resize == "pillow":
        raise ConfigError("--with-resize: this detector's pictures are resized by Pillow; resize them outside")
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    prefixed = add_prefix(front(preprocess, model.ir_version, opset), "resize/", rename_inputs=False)
    merged = merge_models(prefixed, model, io_map=[(f"resize/{ours}", theirs) for ours, theirs in JOINTS.items()])
    versions = {entry.domain: entry for entry in merged.opset_import}  # both parts' are there, and quantisers want one
    del merged.opset_import[:]
    merged.opset_import.extend(versions.values())
    return merged


def front(preprocess: Preprocess, ir_version: int, opset: int) -> "ModelProto":
    """The resize alone: from one picture to what `JOINTS` names."""
    from onnx.parser import parse_model

    return parse_model(_text(preprocess, ir_version, opset))


def _text(preprocess: Preprocess, ir_version: int, opset: int) -> str:
    """The graph that resizes between pixel centres, normalises, and pads to the canvas, in ONNX's own words.

    Sizes are computed in double precision, as Python does. The limits are added to a nought that is computed, for
    OpenVINO turns a division of a constant in double precision upside down.
    """
    short, long = float(preprocess.short), float(preprocess.long)
    channels, (low, high) = preprocess.channels, preprocess.limits or (0.0, 255.0)
    mean = [low + value * (high - low) for value in preprocess.mean]
    deviation = [value * (high - low) for value in preprocess.std]
    return f"""
<ir_version: {ir_version}, opset_import: ["": {opset}]>
resize (uint8[height, width, {channels}] images)
    => (float[1, {channels}, rows, columns] laid_out, int64[1, 2] sizes, int64[1, 2] original_sizes)
<int64[1] front = {{0}}, double[1] short_limit = {{{short!r}}}, double[1] long_limit = {{{long!r}}},
 int64[2] one_picture = {{1, {channels}}}, int64[4] nothing = {{0, 0, 0, 0}}, int64[1] one = {{1}},
 float[1, {channels}, 1, 1] mean = {{{_listed(mean)}}},
 float[1, {channels}, 1, 1] deviation = {{{_listed(deviation)}}}{_steps(preprocess)}>
{{
{_SIZE}
    {_canvas(preprocess)}
{_PIXELS}
}}"""


_SIZE = """\
    original = Shape <start = 0, end = 2> (images)
    exact = Cast <to = 11> (original)
    least = ReduceMin <keepdims = 1> (exact)
    most = ReduceMax <keepdims = 1> (exact)
    none = Sub (least, least)
    short_exact = Add (none, short_limit)
    long_exact = Add (none, long_limit)
    by_short = Div (short_exact, least)
    by_long = Div (long_exact, most)
    scale = Min (by_short, by_long)
    scaled = Mul (exact, scale)
    floored = Floor (scaled)
    whole = Cast <to = 7> (floored)
    resized = Max (whole, one)"""
"""From a picture to its size on the canvas, `resized`."""
_PIXELS = """\
    bytes = Transpose <perm = [2, 0, 1]> (images)
    values = Cast <to = 1> (bytes)
    batched = Unsqueeze (values, front)
    target = Concat <axis = 0> (one_picture, resized)
    shown = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (batched, , , target)
    centred = Sub (shown, mean)
    normalised = Div (centred, deviation)
    beyond = Sub (canvas, resized)
    pads = Concat <axis = 0> (nothing, front, front, beyond)
    laid_out = Pad (normalised, pads)
    sizes = Unsqueeze (resized, front)
    original_sizes = Unsqueeze (original, front)"""
"""From a picture and its `canvas` to what the detector reads."""


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value!r}" for value in values)


def _steps(preprocess: Preprocess) -> str:
    """The constants that `_canvas` reads."""
    if preprocess.bucket == "coarse":
        first, second, third = coarse_steps(preprocess)
        return f", int64[1] first = {{{first}}}, int64[1] second = {{{second}}}, int64[1] third = {{{third}}}"
    return ", int64[1] grid = {32}, int64[1] rest = {31}" if preprocess.bucket == "exact32" else ""


def _canvas(preprocess: Preprocess) -> str:
    """From `resized` to `canvas`, as `Preprocess.canvas` says."""
    if preprocess.bucket == "coarse":
        return """is_small = LessOrEqual (resized, first)
    is_middle = LessOrEqual (resized, second)
    larger = Where (is_middle, second, third)
    canvas = Where (is_small, first, larger)"""
    if preprocess.bucket == "exact":
        return "canvas = Identity (resized)"
    return """padded = Add (resized, rest)
    count = Div (padded, grid)
    canvas = Mul (count, grid)"""


def coarse_steps(preprocess: Preprocess) -> tuple[int, int, int]:
    """The three sides of the coarse canvases; the last ones may be equal."""
    short, long = preprocess.short, preprocess.long
    shapes = [preprocess.canvas((side, side)) for side in (short, (short + long) / 2, long)]  # type: ignore[arg-type]
    first, second, third = (height for height, _ in shapes)
    return first, second, third
