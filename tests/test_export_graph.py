"""What a graph is made of: the stages that an export compares are those of the method's own forward pass."""

import pytest
import torch
from method_variants import METHODS
from test_stages import LIMITS, batch_for, detector_of

from rcnn.export.contract import Case, Original
from rcnn.export.graph import Graph, passed
from rcnn.runtime import OUTPUTS

SOME = ("rcnn", "sppnet", "fast-rcnn", "fast-rcnn, max", "fast-rcnn, svm", "faster-rcnn", "faster-rcnn, c4")


@pytest.mark.parametrize("name", SOME)
@torch.inference_mode()
def test_the_stages_of_a_graph_are_those_of_the_methods_own_forward_pass(name):
    assert name in METHODS
    detector = detector_of(name, **LIMITS)
    batch = batch_for(detector)
    alone, seen = detector.model(batch), passed(detector.model, batch).detections
    assert alone.valid.any()
    for field, wanted in vars(alone).items():
        assert torch.equal(getattr(seen, field), wanted), field


@torch.inference_mode()
def test_a_graph_gives_the_methods_own_detections_and_the_original_keeps_them():
    detector = detector_of("faster-rcnn", **LIMITS)
    batch = batch_for(detector)
    arrays = {"images": batch.images, "sizes": batch.sizes, "original_sizes": batch.original_sizes}
    case = Case("two", *[{name: tensor.numpy() for name, tensor in arrays.items()}] * 2)
    original = Original(Graph(detector.model, detector.preprocess, normalised=True).eval())
    stages, wanted = original.stages(case), detector.model(batch)
    assert {"features.0", "regions", "regions_valid", "pooled", *OUTPUTS} <= set(stages)
    kept = original.detections(case)
    assert list(kept) == list(OUTPUTS)
    for name in ("boxes", "scores", "labels"):
        assert torch.equal(kept[name], getattr(wanted, name))
    assert original.detections(case)["boxes"] is kept["boxes"]
