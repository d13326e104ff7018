"""Matching against loops and torchvision's matcher; sampling against what it promises."""

import math

import pytest
import torch
from oracles import boxes_in, loop_match
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from rcnn.matching import draws, match, sample
from rcnn.ops import best_overlap
from rcnn.ops.best_overlap_numba import RUN, best_overlap_numba
from rcnn.ops.reference import BLOCK, best_overlap_reference
from rcnn.structures import Targets


def truth(boxes, difficult=None, crowd=None, valid=None):
    """Targets of the given boxes [B, G, 4]; each flag is one list for all pictures."""
    shape = boxes.shape[:2]

    def flags(given, default):
        return torch.tensor([default] * shape[1] if given is None else given, dtype=torch.bool).expand(shape)

    return Targets(
        boxes=boxes,
        labels=torch.ones(shape, dtype=torch.int64),
        difficult=flags(difficult, False),
        crowd=flags(crowd, False),
        valid=flags(valid, True),
        weight=torch.ones(shape),
        keys=torch.arange(shape[0]),
    )


def assert_matches_the_loops(candidates, targets, train_difficult=True):
    matches = match(candidates, targets, train_difficult)
    for picture in range(len(targets.boxes)):
        skipped = targets.crowd[picture] | (targets.difficult[picture] & (not train_difficult))
        valid = targets.valid[picture]
        rows = loop_match(
            candidates[picture % len(candidates)].tolist(),
            targets.boxes[picture].tolist(),
            (valid & ~skipped).tolist(),
            (valid & skipped).tolist(),
        )
        iou, index, best, ignored = zip(*rows, strict=True) if rows else ((), (), (), ())
        torch.testing.assert_close(matches.iou[picture], torch.tensor(iou))
        assert matches.index[picture].tolist() == list(index)
        assert matches.best[picture].tolist() == list(best)
        assert matches.ignored[picture].tolist() == list(ignored)


@pytest.mark.parametrize("count", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 3])
def test_any_number_of_true_boxes_agrees_with_the_loops(count):
    assert_matches_the_loops(boxes_in(40, seed=1, leading=(2,)), truth(boxes_in(count, seed=2, leading=(2,))))


def test_crowds_difficult_objects_and_padding_agree_with_the_loops():
    flags = [torch.rand(11, generator=torch.Generator().manual_seed(n)) < 0.4 for n in range(3)]
    difficult, crowd, padding = (flag.tolist() for flag in flags)
    targets = truth(boxes_in(11, seed=2, leading=(2,)), difficult, crowd, [not pad for pad in padding])
    for train_difficult in (True, False):
        assert_matches_the_loops(boxes_in(60, seed=1, leading=(2,)), targets, train_difficult)


def test_whole_pixels_with_many_ties_agree_with_the_loops():
    grid = torch.cartesian_prod(*[torch.arange(0.0, 12.0, 4.0)] * 2)
    candidates = torch.cat((grid, grid + 4), dim=1)[None]
    boxes = torch.tensor([[[2.0, 2.0, 6.0, 6.0], [0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 8.0, 8.0]]]).repeat(1, 4, 1)
    targets = truth(boxes)
    assert_matches_the_loops(candidates, targets)
    assert match(candidates, targets).best.sum() == 4, "all who share the best overlap are best"
    assert match(candidates, targets).index[0, 0] == 1, "the first of equal boxes, over the border of a block"


@pytest.mark.parametrize("count", [5, 23])
def test_positives_and_negatives_are_those_of_torchvisions_matcher(count):
    candidates, boxes = boxes_in(400, side=150, seed=3), boxes_in(count, side=150, seed=4)
    found = match(candidates[None], truth(boxes[None]))
    iou, index, best = found.iou[0], found.index[0], found.best[0]
    ours = torch.where((iou >= 0.7) | best, index, torch.where(iou < 0.3, -1, -2))
    expected = Matcher(0.7, 0.3, allow_low_quality_matches=True)(box_iou(boxes, candidates))
    assert torch.equal(ours, expected)
    assert {-2, -1} < set(expected.tolist())


@pytest.mark.parametrize("count", [1, RUN - 1, RUN, RUN + 1, 3 * RUN + 5])
@pytest.mark.parametrize("shared", [True, False])
def test_the_kernel_says_what_the_reference_says_to_the_bit(count, shared):
    chance = torch.Generator().manual_seed(count)
    candidates = boxes_in(count, side=150, seed=3, leading=(1 if shared else 3,))
    boxes = boxes_in(13, side=150, seed=4, leading=(3,))
    boxes[:, 5] = candidates[:, 0]  # a tie with a perfect match
    boxes[:, 6] = boxes[:, 5]
    teaches, skipped = (torch.rand(3, 13, generator=chance) < 0.6 for _ in range(2))
    usable = torch.rand(3, count, generator=chance) < 0.7
    for given in (None, usable):
        arguments = (candidates, boxes, teaches, skipped, given)
        for own, expected in zip(best_overlap_numba(*arguments), best_overlap_reference(*arguments), strict=True):
            assert torch.equal(own, expected)


def test_a_candidate_without_a_place_hides_none_of_its_neighbours():
    candidates, boxes = boxes_in(200, side=150, seed=3, leading=(1,)), boxes_in(5, side=150, seed=4, leading=(1,))
    usable = torch.ones(1, 200, dtype=torch.bool)
    usable[0, [7, 150]] = False
    candidates[0, 7], candidates[0, 150, 2] = torch.nan, torch.nan
    arguments = (candidates, boxes, torch.ones(1, 5, dtype=torch.bool), torch.zeros(1, 5, dtype=torch.bool), usable)
    for own, expected in zip(best_overlap_numba(*arguments), best_overlap_reference(*arguments), strict=True):
        assert torch.equal(own, expected)


def test_anchors_in_rows_far_from_every_object_and_near_agree_with_the_reference():
    grid = torch.cartesian_prod(torch.arange(0.0, 400, 4), torch.arange(0.0, 400, 4)).flip(1)
    candidates = torch.cat((grid - 10, grid + 10), dim=1)[None]
    boxes = torch.tensor([[[3.0, 5, 22, 30], [200, 200, 222, 221], [390, 100, 400, 120], [0, 0, 0, 0]]])
    arguments = (candidates, boxes, torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, 4, dtype=torch.bool))
    own, expected = best_overlap_numba(*arguments), best_overlap_reference(*arguments)
    assert all(torch.equal(a, b) for a, b in zip(own, expected, strict=True))
    assert expected[2].sum() >= 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_boxes_of_any_precision_are_matched(dtype):
    """Whole numbers, which all of them hold exactly."""
    candidates, boxes = (boxes_in(count, side=60, leading=(2,)).round() for count in (40, 5))
    flags = torch.tensor([[True, True, False, False, True]] * 2)
    found = best_overlap(candidates.to(dtype), boxes.to(dtype), flags, ~flags)
    expected = best_overlap_reference(candidates, boxes, flags, ~flags)
    assert found[0].dtype == dtype
    torch.testing.assert_close(found[0], expected[0].to(dtype))
    assert all(torch.equal(own, other) for own, other in zip(found[1:], expected[1:], strict=True))


def test_matching_compiles_as_one_graph():
    candidates, targets = boxes_in(30, leading=(2,)), truth(boxes_in(3, seed=2, leading=(2,)))
    compiled = torch.compile(match, fullgraph=True, backend="aot_eager")(candidates, targets)
    expected = match(candidates, targets)
    assert all(torch.equal(getattr(compiled, n), getattr(expected, n)) for n in ("iou", "index", "best", "ignored"))


def test_an_object_that_no_candidate_overlaps_makes_nobody_best():
    matches = match(boxes_in(30)[None], truth(torch.tensor([[[1000.0, 1000.0, 1010.0, 1010.0]]])))
    assert not matches.best.any()
    assert not matches.iou.any()


@pytest.mark.parametrize("count", [0, BLOCK])
def test_no_truth_matches_nobody(count):
    candidates = boxes_in(7, leading=(2,))
    padding = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(2, count, 1)
    matches = match(candidates, truth(padding, valid=[False] * count))
    assert not matches.iou.any()
    assert not matches.index.any()
    assert not (matches.best | matches.ignored).any()


def test_no_candidates_give_empty_matches():
    assert match(torch.zeros(2, 0, 4), truth(boxes_in(3, leading=(2,)))).iou.shape == (2, 0)


def test_what_lies_in_padding_does_not_matter():
    candidates, boxes = boxes_in(20, leading=(1,)), boxes_in(4, seed=2, leading=(1,))
    valid = [True, False, True, False]
    clean = match(candidates, truth(boxes, valid=valid))
    boxes[:, [1, 3]] = math.nan
    dirty = match(candidates, truth(boxes, valid=valid))
    assert all(torch.equal(getattr(clean, name), getattr(dirty, name)) for name in ("iou", "index", "best", "ignored"))


def test_a_crowd_ignores_the_many_candidates_inside_it_and_matches_none():
    candidates = torch.tensor([[[0.0, 0.0, 9.0, 9.0], [90.0, 0.0, 110.0, 9.0], [90.0, 0.0, 111.0, 9.0]]])
    matches = match(candidates, truth(torch.tensor([[[0.0, 0.0, 100.0, 100.0]]]), crowd=[True]))
    assert matches.ignored.tolist() == [[True, True, False]]
    assert not matches.iou.any()


def test_difficult_objects_teach_only_if_asked():
    boxes = boxes_in(1, leading=(1,))
    targets = truth(boxes, difficult=[True])
    asked, not_asked = match(boxes, targets, True), match(boxes, targets, False)
    assert (asked.iou.item(), asked.ignored.item()) == (1.0, False)
    assert (not_asked.iou.item(), not_asked.best.item(), not_asked.ignored.item()) == (0.0, False, True)


def test_one_set_of_candidates_serves_all_pictures():
    anchors, targets = boxes_in(25, leading=(1,)), truth(boxes_in(9, seed=1, leading=(3,)))
    once, thrice = match(anchors, targets), match(anchors.expand(3, -1, -1), targets)
    assert torch.equal(once.iou, thrice.iou)
    assert torch.equal(once.index, thrice.index)
    assert torch.equal(once.best, thrice.best)


def candidates_of(positives, negatives, neither=0, pictures=1):
    kinds = torch.tensor([0] * positives + [1] * negatives + [2] * neither).expand(pictures, -1)
    return kinds == 0, kinds == 1


@pytest.mark.parametrize(
    ("positives", "negatives", "count", "fraction", "expected"),
    [
        (50, 200, 64, 0.25, (16, 48)),  # enough of both
        (5, 200, 64, 0.25, (5, 59)),  # few positives: negatives fill up
        (50, 10, 64, 0.25, (16, 10)),  # few negatives: places stay empty
        (0, 200, 64, 0.25, (0, 64)),
        (50, 0, 64, 0.25, (16, 0)),
        (0, 0, 64, 0.25, (0, 0)),
        (3, 4, 64, 0.5, (3, 4)),  # fewer candidates than places
        (50, 50, 7, 0.5, (3, 4)),  # the share of positives is rounded down
        (50, 50, 10, 1.0, (10, 0)),
        (50, 50, 10, 0.0, (0, 10)),
    ],
)
def test_a_mini_batch_has_its_counts(positives, negatives, count, fraction, expected):
    positive, negative = candidates_of(positives, negatives, neither=30, pictures=2)
    chosen = sample(positive, negative, draws(torch.tensor([3, 4]), positive.shape[1], 0), count, fraction)
    assert chosen.index.shape == (2, min(count, positive.shape[1]))
    assert chosen.positive.sum(dim=1).tolist() == [expected[0]] * 2
    assert (chosen.valid & ~chosen.positive).sum(dim=1).tolist() == [expected[1]] * 2
    assert torch.equal(chosen.take(positive) & chosen.valid, chosen.positive)
    assert torch.equal(chosen.take(negative) & chosen.valid, chosen.valid & ~chosen.positive)
    for index, valid in zip(chosen.index, chosen.valid, strict=True):
        assert len(set(index[valid].tolist())) == valid.sum(), "nobody is drawn twice"


def test_a_candidate_that_is_both_counts_as_positive():
    both = torch.ones(1, 6, dtype=torch.bool)
    chosen = sample(both, both, draws(torch.tensor([0]), 6, 0), 6, 0.5)
    assert (chosen.positive.sum(), chosen.valid.sum()) == (3, 3)


def test_no_candidates_give_an_empty_mini_batch():
    nobody = torch.zeros(2, 0, dtype=torch.bool)
    assert sample(nobody, nobody, draws(torch.tensor([1, 2]), 0, 0), 16, 0.5).index.shape == (2, 0)


def test_take_reads_rows_of_any_shape():
    positive, negative = candidates_of(4, 9, pictures=2)
    chosen = sample(positive, negative, draws(torch.tensor([3, 4]), 13, 0), 5, 0.5)
    rows = torch.arange(2 * 13 * 4).view(2, 13, 4)
    assert torch.equal(chosen.take(rows), torch.stack([rows[b, chosen.index[b]] for b in range(2)]))


def test_the_same_key_draws_the_same_mini_batch_whoever_its_neighbours_are():
    positive, negative = candidates_of(40, 160, pictures=3)
    together = sample(positive, negative, draws(torch.tensor([7, 8, 9]), 200, 1), 32, 0.25)
    alone = sample(positive[:1], negative[:1], draws(torch.tensor([8]), 200, 1), 32, 0.25)
    assert torch.equal(together.index[1], alone.index[0])
    assert torch.equal(together.valid[1], alone.valid[0])


def test_draws_do_not_depend_on_how_many_there_are():
    keys = torch.tensor([5, 2**40 + 5])
    assert torch.equal(draws(keys, 100, 1), draws(keys, 1000, 1)[:, :100])


def test_keys_streams_and_places_draw_differently():
    keys = torch.tensor([0, 1, 2**32, 2**33, 2**62, -1])
    rows = torch.cat([draws(keys, 200, stream) for stream in range(3)])
    assert rows.min() >= 0
    assert rows.max() < 2**32
    agreement = (rows[:, None] == rows[None]).sum(dim=-1) - 200 * torch.eye(len(rows), dtype=torch.int64)
    assert agreement.max() <= 1
    assert len(rows.unique()) > 0.999 * rows.numel()


def chi_square(counts, expected):
    return ((counts - expected) ** 2 / expected).sum().item()


@pytest.mark.parametrize("bits", [0, 4, 16, 28])
def test_draws_are_uniform_in_high_and_low_bits(bits):
    values = draws(torch.arange(40), 400, 1)
    counts = torch.bincount((values >> bits & 15).flatten(), minlength=16)
    assert chi_square(counts, values.numel() / 16) < 45  # 15 degrees of freedom: chance exceeds it once in 10,000


def test_every_candidate_is_sampled_equally_often():
    positive, negative = candidates_of(20, 80, pictures=4000)
    chosen = sample(positive, negative, draws(torch.arange(4000), 100, 2), 20, 0.25)
    counts = torch.bincount(chosen.index.flatten(), minlength=100)
    assert chi_square(counts[:20], 4000 * 5 / 20) < 50  # 19 and 79 degrees of freedom, one in 10,000
    assert chi_square(counts[20:], 4000 * 15 / 80) < 133


def test_neighbouring_keys_draw_independently():
    values = draws(torch.arange(500), 64, 0).double() / 2**32 - 0.5
    for shift in (1, 2, 16):
        correlation = (values[:-shift] * values[shift:]).mean() * 12
        assert abs(correlation.item()) < 4 / math.sqrt(values.numel())
