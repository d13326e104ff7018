"""The drawings of a comparison: axes whose ticks can be read, names that can be told apart."""

import pytest

from rcnn.report.compare_plots import Bars, Lines, draw, round_between, short


@pytest.mark.parametrize("high", [1.05, 1.4, 2.2, 9.0, 150.0, 4e3])
@pytest.mark.parametrize("low", [0.013, 0.61, 98.0, 1.2e6])
def test_a_logarithmic_axis_has_ticks_that_are_round_and_told_apart(low, high):
    ticks = round_between(low, low * high)
    assert 3 <= len(ticks) <= 12
    assert all(low <= tick <= low * high for tick in ticks)
    assert len({short(tick) for tick in ticks}) == len(ticks)


def test_names_of_points_that_lie_together_are_all_written_and_not_on_each_other():
    points = {
        "R-CNN": [(2.9, 50.5)],
        "SPPnet": [(2.7, 50.5)],
        "Fast R-CNN": [(2.8, 49.0)],
        "Faster R-CNN": [(1.3, 3.4)],
    }
    figure = draw(Lines("a", "a", points, "s", "AP50, %", log=True, joined=False))
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert [text.get_text() for text in figure.axes[0].texts] == list(points)
    assert not any(box.count_overlaps(boxes[:n]) for n, box in enumerate(boxes))


def test_percentages_have_ticks_up_to_100_only():
    points = {name: [(x, y)] for name, x, y in (("a", 1.0, 99.0), ("b", 2.0, 60.0))}
    lines = draw(Lines("t", "c", points, "seconds", "AP50, %", log=True, joined=False)).axes[0]
    bars = draw(Bars("t", "c", ("a",), {"here": [99.0]}, "mAP, %")).axes[0]
    assert max(lines.get_yticks()) == max(bars.get_xticks()) == 100
