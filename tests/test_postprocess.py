"""The last step against a ragged one made of torchvision's operators, one picture at a time."""

import math
from dataclasses import replace

import pytest
import torch
from oracles import boxes_in, poisoned_memory
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from rcnn.postprocess import Postprocess
from rcnn.structures import Batch, Proposals

CLASSES = 4  # the background among them
SIZES = ((120, 90), (64, 128))
ORIGINAL = ((240, 180), (33, 100))


def batch_of(sizes=SIZES, original=ORIGINAL):
    count = len(sizes)
    return Batch(torch.zeros(count, 3, 128, 128), torch.tensor(sizes), torch.tensor(original), torch.ones(count))


def scene(count=60, seed=0, pictures=2):
    """Proposals, logits and deltas; one proposal in five is invalid."""
    generator = torch.Generator().manual_seed(seed)
    boxes = boxes_in(count, side=110, seed=seed, leading=(pictures,))
    valid = torch.rand(pictures, count, generator=generator) > 0.2
    logits = torch.randn(pictures, count, CLASSES, generator=generator) * 2
    deltas = torch.randn(pictures, count, CLASSES, 4, generator=generator)
    return Proposals(boxes, torch.ones(pictures, count), valid), logits, deltas


def run(settings, proposals, logits, deltas, batch):
    """The step on what a softmax head gives: probabilities and plain deltas of the classes 1..K."""
    scores = logits.float().softmax(-1)[..., 1:].flatten(0, 1)
    return settings(proposals, scores, deltas.float()[..., 1:, :].flatten(0, 1), batch)


def ragged(settings, proposals, logits, deltas, batch, picture):
    """Boxes, scores and labels of one picture, in the original's pixels."""
    valid = proposals.valid[picture]
    regions, scores = proposals.boxes[picture][valid], logits[picture][valid].softmax(-1)
    moved = BoxCoder((1.0, 1.0, 1.0, 1.0)).decode(deltas[picture][valid].flatten(1), [regions])
    boxes = clip_boxes_to_image(moved, batch.sizes[picture].tolist())[:, 1:].reshape(-1, 4)
    labels = torch.arange(1, CLASSES).repeat(len(regions))
    scores = scores[:, 1:].flatten()
    keep = scores > settings.score
    boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
    keep = remove_small_boxes(boxes, 1e-2)
    boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
    keep = batched_nms(boxes, scores, labels, settings.nms)[: settings.detections]
    (height, width), (tall, wide) = batch.sizes[picture].tolist(), batch.original_sizes[picture].tolist()
    ratio = torch.tensor([wide / width, tall / height]).repeat(2)
    return boxes[keep] * ratio, scores[keep], labels[keep]


def assert_is_ragged(settings, inputs, batch):
    found = run(settings, *inputs, batch)
    assert not any(part[~found.valid].any() for part in (found.boxes, found.scores, found.labels))
    for picture, valid in enumerate(found.valid):
        boxes, scores, labels = ragged(settings, *inputs, batch, picture)
        torch.testing.assert_close(found.boxes[picture, valid], boxes, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(found.scores[picture, valid], scores)
        assert torch.equal(found.labels[picture, valid], labels)
    return found


@pytest.mark.parametrize("count", [1, 37, 60])
@pytest.mark.parametrize("settings", [Postprocess(), Postprocess(0.2, 0.3, 7), Postprocess(0.0, 0.9, 500)])
def test_detections_are_those_of_the_ragged_way(count, settings):
    found = assert_is_ragged(settings, scene(count, seed=count), batch_of())
    assert found.complete.all()


def test_no_detection_at_all_gives_empty_places_of_zeros():
    proposals, logits, deltas = scene()
    logits[..., 0] = 50  # all background
    found = assert_is_ragged(Postprocess(), (proposals, logits, deltas), batch_of())
    assert not found.valid.any()
    assert found.complete.all()


def test_no_proposals_give_no_detections():
    found = run(Postprocess(), *scene(0), batch_of())
    assert not found.valid.any()
    assert found.boxes.shape[0] == 2
    assert found.complete.all()


def test_a_score_equal_to_the_threshold_is_no_detection():
    proposals = Proposals(boxes_in(1, leading=(1,)), torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool))
    logits, deltas = torch.zeros(1, 1, 2), torch.zeros(1, 1, 2, 4)  # a score of exactly one half
    batch = batch_of([(128, 128)], [(128, 128)])
    assert not run(Postprocess(score=0.5), proposals, logits, deltas, batch).valid.any()
    assert run(Postprocess(score=0.49), proposals, logits, deltas, batch).valid.any()


def test_suppression_is_within_a_class_only():
    proposals = Proposals(boxes_in(1).expand(1, 2, 4), torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool))
    logits = torch.tensor([[[0.0, 2.0, 1.9], [0.0, 1.8, 2.1]]])
    found = run(Postprocess(), proposals, logits, torch.zeros(1, 2, 3, 4), batch_of([(128, 128)], [(128, 128)]))
    assert found.labels[found.valid].tolist() == [2, 1]


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_what_lies_in_invalid_proposals_does_not_matter(value):
    proposals, logits, deltas = scene()
    proposals.valid[1] = False  # and one picture without any
    expected = run(Postprocess(), proposals, logits, deltas, batch_of())
    hidden = ~proposals.valid
    garbage = (
        replace(proposals, boxes=torch.where(hidden[..., None], value, proposals.boxes)),
        torch.where(hidden[..., None], value, logits),
        torch.where(hidden[..., None, None], value, deltas),
    )
    found = run(Postprocess(), *garbage, batch_of())
    for name in ("boxes", "scores", "labels", "valid", "complete"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def test_poisoned_memory_does_not_show():
    inputs = scene()
    with poisoned_memory():
        assert_is_ragged(Postprocess(), inputs, batch_of())


def test_the_certificate_is_true_only_where_the_cap_cannot_have_mattered():
    inputs, batch = scene(), batch_of()
    complete = assert_is_ragged(Postprocess(candidates=180), inputs, batch)
    assert complete.complete.all()
    capped = run(Postprocess(candidates=40), *inputs, batch)
    assert not capped.valid.all()
    assert not capped.complete.any()
    enough = assert_is_ragged(Postprocess(candidates=40, detections=5), inputs, batch)
    assert enough.valid.all()
    assert enough.complete.all(), "five survived among the best 40: nothing below can push them out"


def test_the_certificate_is_each_pictures_own():
    proposals, logits, deltas = scene()
    logits[1, :, 0] = 50
    found = run(Postprocess(candidates=40), proposals, logits, deltas, batch_of())
    assert found.complete.tolist() == [False, True]


def test_boxes_are_reported_in_the_original_pictures_pixels():
    proposals = Proposals(torch.tensor([[[8.0, 16.0, 300.0, 32.0]]]), torch.ones(1, 1), torch.ones(1, 1) > 0)
    logits, deltas = torch.tensor([[[0.0, 9.0]]]), torch.zeros(1, 1, 2, 4)
    found = run(Postprocess(), proposals, logits, deltas, batch_of([(64, 96)], [(640, 48)]))
    torch.testing.assert_close(found.boxes[found.valid], torch.tensor([[4.0, 160.0, 48.0, 320.0]]))


def test_half_precision_scores_give_single_precision_detections():
    proposals, logits, deltas = scene()
    found = run(Postprocess(), proposals, logits.bfloat16(), deltas.bfloat16(), batch_of())
    expected = run(Postprocess(), proposals, logits.bfloat16().float(), deltas.bfloat16().float(), batch_of())
    assert found.boxes.dtype == found.scores.dtype == torch.float32
    assert torch.equal(found.boxes, expected.boxes)


def test_a_picture_alone_gives_what_it_gives_in_a_batch():
    proposals, logits, deltas = scene()
    together = run(Postprocess(), proposals, logits, deltas, batch_of())
    for i in range(2):
        own = Proposals(proposals.boxes[i : i + 1], proposals.scores[i : i + 1], proposals.valid[i : i + 1])
        alone = run(
            Postprocess(), own, logits[i : i + 1], deltas[i : i + 1], batch_of(SIZES[i : i + 1], ORIGINAL[i : i + 1])
        )
        assert torch.equal(alone.boxes[0], together.boxes[i])
        assert torch.equal(alone.labels[0], together.labels[i])


@pytest.mark.parametrize("most", [1, 5, 20, 60, 100])
def test_of_each_class_only_the_best_enter_suppression(most):
    proposals, logits, deltas = scene()
    scores = logits.softmax(-1)[..., 1:] * proposals.valid[..., None]
    best = torch.zeros_like(scores, dtype=torch.bool)
    for picture in range(2):
        for label in range(CLASSES - 1):
            order = sorted(range(60), key=lambda i: -float(scores[picture, i, label]))
            best[picture, order[:most], label] = True
    expected = Postprocess(score=0.0)(
        proposals, (scores * best).flatten(0, 1), deltas[..., 1:, :].flatten(0, 1), batch_of()
    )
    found = run(Postprocess(score=0.0, per_class=most), proposals, logits, deltas, batch_of())
    for name in ("boxes", "scores", "labels", "valid"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))
    assert found.complete.all(), "the limit is a rule of the method, no cap that hides something"


def test_without_refinement_detections_are_the_regions_themselves():
    proposals, logits, deltas = scene()
    batch = batch_of(original=SIZES)
    found = run(Postprocess(nms=1.0, detections=500, refine=False), proposals, logits, deltas, batch)
    plain = run(Postprocess(nms=1.0, detections=500), proposals, logits, torch.zeros_like(deltas), batch)
    torch.testing.assert_close(found.boxes, plain.boxes)
    assert torch.equal(found.labels, plain.labels)
    assert not torch.equal(found.boxes, run(Postprocess(nms=1.0, detections=500), *scene(), batch).boxes)
