"""Which parts stay in floating point: a search that knows detectors only by their scores."""

import math

import pytest

from rcnn.errors import DataError
from rcnn.export.sensitivity import keep_sensitive

PARTS = ("first", "middle", "pyramid", "fc6", "fc7")


def search(costs, bound=0.5, together=lambda rounded, points: points):
    """The search on a detector of 50 points whose rounded parts cost so much; and how many detectors were scored."""
    scored = []

    def score(rounded):
        scored.append(rounded)
        return together(rounded, max(0.0, 50 - sum(costs.get(part, 0.0) for part in rounded)))

    return keep_sensitive(PARTS, lambda kept: tuple(p for p in PARTS if p not in kept), score, 50.0, bound), scored


def test_nothing_is_kept_and_nothing_else_is_tried_when_all_parts_cost_little():
    result, scored = search({"first": 0.2, "fc6": 0.1})
    assert (result.kept, result.costs, scored) == ((), {}, [PARTS])
    assert result.lost == pytest.approx(0.3)


def test_exactly_the_part_that_does_not_bear_8_bits_is_kept():
    result, _ = search({"pyramid": 4.0, "fc6": 0.1})
    assert result.kept == ("pyramid",)
    assert result.model == ("first", "middle", "fc6", "fc7")
    assert result.costs == pytest.approx({"pyramid": 4.0, "fc6": 0.1, "first": 0, "middle": 0, "fc7": 0})


def test_parts_are_kept_from_the_dearest_on_until_the_bound_is_met():
    result, _ = search({"first": 0.3, "middle": 1.0, "fc6": 2.0, "fc7": 0.1}, bound=0.45)
    assert result.kept == ("fc6", "middle")
    assert result.lost == pytest.approx(0.4)


def test_two_parts_that_each_ruin_everything_are_both_found():
    result, _ = search({"middle": 80.0, "fc7": 90.0, "first": 0.2})
    assert set(result.kept) == {"middle", "fc7"}


def test_of_equally_dear_parts_the_first_is_kept_first():
    result, _ = search({"fc7": 1.0, "middle": 1.0}, bound=1.0)
    assert result.kept == ("middle",)


def test_all_parts_are_kept_when_nothing_less_is_enough():
    result, scored = search({}, together=lambda rounded, points: points - 3 if rounded else points)
    assert result.kept == PARTS
    assert result.lost == 0
    assert len(scored) == 2 * len(PARTS) + 1


def test_pictures_without_objects_tell_nothing():
    with pytest.raises(DataError, match="hold no object to find; pass --eval with others"):
        keep_sensitive(PARTS, tuple, lambda _: math.nan, 50.0)
