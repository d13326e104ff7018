"""This library's operators in ONNX give what they give here, in both engines."""

import warnings

import numpy as np
import pytest
import torch
from oracles import maps_in
from torch import nn

from rcnn.export.engines import run_onnx, run_openvino
from rcnn.export.onnx_operators import translations
from rcnn.ops import nms, roi_align, roi_pool, spp

pytest.importorskip("onnxscript")
ENGINES = ["onnxruntime", "openvino"]
STRIDES = (8.0, 13.5)
LEVELS = torch.tensor([[0, 1, 0, 0, 1, 1, 0], [1, 0, 0, 1, 0, 0, 1]])


class Call(nn.Module):
    """A function of tensors as a module, which is what can be exported."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *tensors):
        return self.function(*tensors)


def answers(engine, function, *tensors):
    """What a function gives here and in an engine: two lists of arrays."""
    pytest.importorskip(engine)
    program = torch.export.export(Call(function), tensors, strict=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own
        made = torch.onnx.export(program, (), custom_translation_table=dict(translations()), dynamo=True, verbose=False)
    model = made.model_proto
    if engine == "onnxruntime":
        run = run_onnx(model)
    else:
        import openvino

        run = run_openvino(openvino.Core().read_model(model.SerializeToString()))
    given = {entry.name: tensor.numpy() for entry, tensor in zip(model.graph.input, tensors, strict=True)}
    own = function(*tensors)
    own = [own] if isinstance(own, torch.Tensor) else list(own)
    return [tensor.numpy() for tensor in own], list(run(given).values())


def crowded(pictures=2, count=40):
    """Boxes that overlap each other much, with ties, of three groups, some of which take no part."""
    generator = torch.Generator().manual_seed(0)
    corner, side = torch.rand(pictures, count, 2, generator=generator) * 20, torch.full((pictures, count, 2), 12.0)
    boxes = torch.cat((corner, corner + side), dim=-1)
    scores = (torch.rand(pictures, count, generator=generator) * 20).round() / 20
    groups = torch.randint(0, 3, (pictures, count), generator=generator)
    valid = torch.rand(pictures, count, generator=generator) > 0.2
    scores[0, 5], scores[0, 6] = torch.nan, -torch.inf
    return boxes, scores, groups, valid


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("k", [4, 60])
def test_suppression_keeps_the_same_boxes_best_first(engine, k):
    ours, theirs = answers(engine, lambda *tensors: nms(*tensors, 0.3, k), *crowded())
    assert ours[1].any()
    np.testing.assert_array_equal(theirs[1], ours[1])
    if engine == "onnxruntime":
        np.testing.assert_array_equal(theirs[0], ours[0])
    else:  # OpenVINO's TopK takes equal scores in any order
        scores = crowded()[1].numpy()
        found, wanted = (np.take_along_axis(scores, index, 1) * ours[1] for index in (theirs[0], ours[0]))
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("engine", ENGINES)
def test_suppression_of_nothing_gives_empty_places(engine):
    boxes, scores, groups, valid = crowded()
    ours, theirs = answers(engine, lambda *t: nms(*t, 0.3, 5), boxes, scores, groups, torch.zeros_like(valid))
    assert not ours[1].any()
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(other, mine)


def regions():
    """Some on the map, some across its edge, one within a cell, one far outside, one without extent."""
    rows = [
        [0, 0, 40, 50],
        [10, 5, 90, 40],
        [-9, -7, 20, 30],
        [60, 30, 150, 90],
        [33, 21, 34, 22],
        [500, 500, 600, 600],
    ]
    boxes = torch.tensor([*rows, [30, 30, 30, 30]], dtype=torch.float32)
    return torch.stack([boxes, boxes.flip(0)])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("levels", [LEVELS, torch.zeros_like(LEVELS)], ids=["both levels", "one level is empty"])
def test_regions_are_aligned_alike(engine, aligned, levels):
    def pooled(fine, coarse, boxes, levels):
        return roi_align([fine, coarse], boxes, levels, STRIDES, 3, 2, aligned)

    fine, coarse = maps_in(channels=4, dtype=torch.float32)
    ours, theirs = answers(engine, pooled, fine, coarse, regions(), levels)
    np.testing.assert_allclose(theirs[0], ours[0], atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "operator", [lambda *a: roi_pool(*a, 3), lambda *a: spp(*a, (1, 2, 3))], ids=["roi_pool", "spp"]
)
def test_maxima_of_bins_are_the_same(engine, operator):
    def pooled(fine, coarse, boxes, levels):
        return operator([fine, coarse], boxes, levels, STRIDES)

    fine, coarse = maps_in(channels=4, dtype=torch.float32)
    ours, theirs = answers(engine, pooled, fine, coarse, regions(), LEVELS)
    # OpenVINO multiplies by the inverse of a divisor, which moves a bound of RoI pooling by a cell here and there.
    least = 0.98 if engine == "openvino" and ours[0].ndim == 4 else 1.0
    assert (theirs[0] == ours[0]).mean() >= least


@pytest.mark.parametrize("engine", ENGINES)
def test_a_single_level_needs_no_order(engine):
    def pooled(fine, boxes, levels):
        return roi_align([fine], boxes, levels, STRIDES[:1], 3)

    fine, _ = maps_in(channels=4, dtype=torch.float32)
    ours, theirs = answers(engine, pooled, fine, regions(), torch.zeros_like(LEVELS))
    np.testing.assert_allclose(theirs[0], ours[0], atol=1e-5)
