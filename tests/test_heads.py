"""What a region becomes: head, machines, levels, pyramids of bins and of pictures."""

import pytest
import torch
from oracles import boxes_in
from torch import nn

from rcnn.backbones import ImagePyramid, SingleMapBackbone, Trunk
from rcnn.boxes import decode, encode
from rcnn.heads.box_head import BoxHead, SVMHead, flat
from rcnn.heads.roi import RoIAlignPool, nearest_scale
from rcnn.heads.spp import SPPPool
from rcnn.ops.levels import levels_of

SIZES = (6, 9, 3)  # channels, cells, classes


def pooled(count=5, seed=0):
    return torch.randn(count, 6, 3, 3, generator=torch.Generator().manual_seed(seed))


def test_the_siblings_may_begin_with_the_papers_spreads_and_no_bias():
    torch.manual_seed(0)
    plain, head = BoxHead(64, 49, 20, (512,)), BoxHead(64, 49, 20, (512,), small_start=True)
    assert float(plain.bbox_pred.weight.detach().std()) == pytest.approx(1 / (3 * 512) ** 0.5, rel=0.05)  # torch's own
    assert float(head.cls_score.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
    assert float(head.bbox_pred.weight.detach().std()) == pytest.approx(0.001, rel=0.05)
    assert not head.cls_score.bias.any()
    assert not head.bbox_pred.bias.any()
    assert (head.cls_score.out_features, head.bbox_pred.out_features) == (21, 84)


@pytest.mark.parametrize("measured", [True, False])
def test_plain_undoes_the_normalisation_of_targets(measured):
    head = BoxHead(*SIZES, (4,), weights=(10.0, 10.0, 5.0, 5.0), measured=measured)
    if measured:
        head.box_mean.copy_(torch.randn(4, 4))
        head.box_std.copy_(torch.rand(4, 4) + 0.1)
    wanted, labels = torch.randn(7, 4), torch.tensor([1, 2, 3, 1, 2, 3, 1])
    learned = (wanted - head.box_mean[labels]) / head.box_std[labels]
    plain = head.plain(learned[:, None].expand(-1, 4, -1))  # [7, 3, 4]: as if each class had said the same
    torch.testing.assert_close(plain[torch.arange(7), labels - 1], wanted)
    if not measured:
        torch.testing.assert_close(learned, wanted * torch.tensor([10.0, 10.0, 5.0, 5.0]))


def test_a_perfect_regression_finds_the_object():
    head, regions, objects = BoxHead(*SIZES, ()), boxes_in(7, seed=1), boxes_in(7, seed=2)
    labels = torch.full((7,), 2)
    learned = (encode(objects, regions) - head.box_mean[labels]) / head.box_std[labels]
    deltas = torch.zeros(7, 4, 4).index_copy(1, torch.tensor([2]), learned[:, None])
    torch.testing.assert_close(decode(head.plain(deltas)[:, 1], regions), objects, rtol=1e-4, atol=1e-3)


def test_measured_boxes_are_saved_with_the_weights_and_fixed_ones_are_not():
    measured, fixed = (BoxHead(*SIZES, (4,), measured=kind).state_dict() for kind in (True, False))
    assert measured.keys() - fixed.keys() == {"box_mean", "box_std"}
    assert fixed.keys() <= measured.keys()


def test_dropout_is_for_training_alone():
    torch.manual_seed(0)
    head = BoxHead(*SIZES, (64, 64), dropout=0.5)
    head.eval()
    assert torch.equal(head.vectors(pooled()), head.vectors(pooled()))
    head.train()
    assert not torch.equal(head.vectors(pooled()), head.vectors(pooled()))
    assert (head.vectors(pooled()) == 0).float().mean() > 0.6  # half dropped, and what the rectifier stops


def test_with_average_the_layers_see_the_mean_of_the_cells():
    torch.manual_seed(0)
    head = BoxHead(*SIZES, (4,), average=True)
    assert head.layers["fc6"].in_features == 6
    torch.testing.assert_close(head.vectors(pooled()), head.layers["fc6"](pooled().mean((2, 3))).relu())


def test_probabilities_are_of_the_objects_classes_without_the_background():
    torch.manual_seed(0)
    head = BoxHead(*SIZES, (4,))
    logits, _ = head(pooled())
    scores, deltas = head.predict(pooled())
    assert (scores.shape, deltas.shape) == ((5, 3), (5, 3, 4))
    torch.testing.assert_close(scores, logits.softmax(-1)[:, 1:])


@pytest.mark.parametrize("ridge", [True, False])
def test_machines_score_by_their_margin_and_ridge_moves_by_pooled_features(ridge):
    torch.manual_seed(0)
    head = SVMHead(*SIZES, ridge=ridge, widths=(8,))
    scores, deltas = head.eval().predict(pooled())
    margins = head.vectors(pooled()) @ head.svm.weight.T + head.svm.bias
    torch.testing.assert_close(scores, 1 / (1 + torch.exp(-margins)))
    if ridge:
        rows = pooled().permute(0, 2, 3, 1).reshape(5, -1)  # cell by cell, as the regressors' features are stored
        assert torch.equal(rows, flat(pooled()))
        torch.testing.assert_close(deltas, (rows @ head.ridge.weight.T + head.ridge.bias).view(5, 3, 4))
    else:
        torch.testing.assert_close(deltas, head.plain(head(pooled())[1]))
        assert head.ridge is None


def test_the_nearest_scale_is_that_of_a_loop():
    factors, boxes = (0.4, 0.48, 0.72, 1.0), boxes_in(200, side=1600, seed=4).view(4, 50, 4)
    found = nearest_scale(boxes, factors)
    for box, level in zip(boxes.view(-1, 4).tolist(), found.flatten().tolist(), strict=True):
        areas = [(box[2] - box[0]) * factor * (box[3] - box[1]) * factor for factor in factors]
        gaps = [abs(area - 224 * 224) for area in areas]
        assert level == gaps.index(min(gaps))
    assert set(found.flatten().tolist()) == {0, 1, 2, 3}


def test_an_empty_box_is_read_at_the_largest_scale():
    assert nearest_scale(torch.tensor([[[5.0, 5.0, 5.0, 9.0], [9.0, 9.0, 2.0, 2.0]]]), (0.5, 1.0)).tolist() == [[0, 0]]


def tiny_network():
    """Two convolutions of stride 4 in all, whose cells see nothing but their own pixels."""
    torch.manual_seed(0)
    layers = {"one": nn.Conv2d(3, 4, 2, 2), "two": nn.Sequential(nn.ReLU(), nn.Conv2d(4, 5, 2, 2))}
    return SingleMapBackbone(Trunk(layers, ("one", "two"), (4, 5), (2, 4)))


def test_each_level_of_a_picture_pyramid_is_the_map_of_the_picture_resized():
    network, images = tiny_network(), torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    pyramid = ImagePyramid(network, (0.5, 0.75, 1.0))
    assert pyramid.strides == (8.0, pytest.approx(16 / 3), 4.0)
    for features, factor in zip(pyramid(images), pyramid.factors, strict=True):
        size = round(64 * factor), round(96 * factor)
        resized = nn.functional.interpolate(images, size=size, mode="bilinear", align_corners=False)
        torch.testing.assert_close(features, network(resized)[0])


def test_a_region_read_at_a_scale_has_the_features_of_the_resized_picture():
    network, images = tiny_network(), torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    pyramid, boxes = ImagePyramid(network, (0.5, 1.0)), boxes_in(6, side=60, seed=1, leading=(1,))
    at = {level: RoIAlignPool(pyramid.strides, lambda b, n=level: torch.full(b.shape[:2], n), 3) for level in (0, 1)}
    half = nn.functional.interpolate(images, scale_factor=0.5, mode="bilinear", align_corners=False)
    single = RoIAlignPool(network.strides, lambda b: levels_of(b, network.strides), 3)
    torch.testing.assert_close(at[0](pyramid(images), boxes), single(network(half), boxes / 2))
    torch.testing.assert_close(at[1](pyramid(images), boxes), single(network(images), boxes))


def test_a_picture_pyramids_weights_are_there_once():
    pyramid = ImagePyramid(tiny_network(), (0.5, 1.0))
    tensors = list(pyramid.state_dict().values())
    assert len({tensor.data_ptr() for tensor in tensors}) == len(tensors), "a file could not hold the same twice"


def test_sppnets_vector_has_50_bins_of_256_channels_whatever_the_region():
    pool = SPPPool((16.0,), lambda boxes: levels_of(boxes, (16.0,)))
    regions = torch.tensor([[[0.0, 0.0, 224.0, 224.0], [30.0, 40.0, 50.0, 300.0]]])
    out = pool([torch.rand(1, 256, 24, 30)], regions)
    assert out.shape == (2, 256, 50, 1)
    assert BoxHead(256, 50, 20, (8,)).vectors(out).shape == (2, 8)
    assert BoxHead(256, 50, 20, (8,)).layers["fc6"].in_features == 12_800


def test_the_coarsest_bin_comes_first_and_holds_the_whole_regions_maximum():
    features = torch.rand(1, 4, 24, 30)
    out = SPPPool((16.0,), lambda boxes: levels_of(boxes, (16.0,)))(
        [features], torch.tensor([[[0.0, 0.0, 480.0, 384.0]]])
    )
    inner = features[0, :, :23, :29]  # floor(1 / 16) up to ceil(480 / 16) - 1, without: the paper's rule
    torch.testing.assert_close(out[0, :, 0, 0], inner.amax((1, 2)))
    torch.testing.assert_close(out[0, :, 1:5, 0].amax(1), inner.amax((1, 2)))


def test_levels_of_a_feature_pyramid_follow_the_octaves_of_the_side():
    boxes = torch.tensor([[0, 0, side, side] for side in (20.0, 111.9, 112.0, 223.9, 224.0, 447.0, 448.0, 5000.0)])
    assert levels_of(boxes, (4, 8, 16, 32)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
