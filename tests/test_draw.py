"""Drawn detections: the right colour in the right place, and text that can be read at every size."""

import numpy as np
import pytest
import torch
from PIL import Image

from rcnn.errors import DataError
from rcnn.inference import draw as drawing
from rcnn.inference.draw import class_colour, contact_sheet, draw
from rcnn.sample import Sample
from rcnn.structures import Detections

GREY = 90


def plain(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def found(*boxes: list[float], names: tuple[str, ...] | None = None) -> Detections:
    """One detection a box, each of its own class."""
    count = len(boxes)
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.linspace(0.97, 0.5, count),
        torch.arange(1, count + 1),
        names or tuple(f"class {number}" for number in range(count)),
    )


def pixels_of(image: Image.Image, label: int) -> np.ndarray:
    """Where the colour of a class shows."""
    return (np.asarray(image) == class_colour(label)).all(-1)


def test_a_picture_without_detections_is_left_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(draw(picture, found())), picture)


def test_drawing_does_not_change_the_callers_array():
    picture = plain(100, 100)
    draw(picture, found([10, 30, 60, 90]))
    assert (picture == GREY).all()


def test_the_outline_runs_on_the_edge_pixels_of_the_box():
    shown = pixels_of(draw(plain(200, 200), found([40, 50, 120, 150])), 1)
    assert shown[50:150, 40].all()
    assert shown[50:150, 119].all()
    assert shown[149, 40:120].all()
    assert not shown[50:, :40].any()
    assert not shown[50:, 120:].any()
    assert not shown[150:].any()


def test_scale_enlarges_the_picture_and_the_boxes_with_it():
    image = draw(plain(100, 80), found([10, 40, 50, 90]), scale=3.0)
    assert image.size == (240, 300)
    shown = pixels_of(image, 1)
    assert shown[269, 30:150].all()
    assert not shown[270:].any()


def test_lines_and_letters_grow_with_the_picture():
    small, large = (
        pixels_of(draw(plain(side, side), found([side / 4] * 2 + [side / 2] * 2)), 1) for side in (200, 1600)
    )
    assert small[50:, 75].sum() == 2 * 1
    assert large[400:, 790].sum() == 2 * 8
    assert large[:400].any(axis=1).sum() > 3 * small[:50].any(axis=1).sum() > 3 * 9


@pytest.mark.parametrize("size", [(160, 208), (20, 700), (700, 60), (1000, 1500)])
def test_tags_stay_inside_the_picture(size):
    height, width = size
    rng = np.random.default_rng(1)
    for x, y in rng.uniform(-20, (width + 20, height + 20), (40, 2)).tolist():
        box = drawing._on_image([x, y, x + 30, y + 30], 1.0, (width, height))
        left, top = drawing._free_place(box, (40, 14), (width, height), [], 2)
        assert 0 <= left <= width - 40
        assert 0 <= top <= height - 14


def test_tags_of_boxes_in_the_same_place_do_not_hide_each_other():
    image = draw(plain(300, 300), found(*[[100, 100, 200, 200]] * 4))
    areas = [pixels_of(image, label).sum() for label in range(1, 5)]
    alone = pixels_of(draw(plain(300, 300), found([100, 100, 200, 200])), 1).sum() - 400
    assert min(areas) > 0.7 * alone


def test_a_name_too_long_for_the_picture_is_shortened_but_keeps_its_score():
    font = drawing.ImageFont.load_default(10)
    text = drawing._shortened("an exceedingly long name of a class  0.97", font, 100)
    assert text.startswith("an exceed")
    assert text.endswith("…  0.97")
    assert font.getlength(text) <= 100


@pytest.mark.parametrize("name", ["weiße Zelle", "赤血球", "two\nlines", "", "x" * 500, "🙂", "\udce9"])
def test_any_class_name_can_be_drawn(name):
    image = draw(plain(120, 160), found([20, 40, 90, 100], names=(name,)))
    assert pixels_of(image, 1)[:40].any()


@pytest.mark.parametrize("box", [[-50, -50, 500, 500], [150, 110, 900, 900], [300, 300, 400, 400], [10, 10, 10, 10]])
@pytest.mark.parametrize("size", [(120, 160), (1, 1), (9, 9)])
def test_boxes_beyond_the_border_or_without_area_are_drawn_at_the_border(box, size):
    assert (
        draw(plain(*size), found(box), truth=Sample("a", plain(*size), np.array([box], float), ("x",))).size
        == size[::-1]
    )


def test_truth_is_drawn_as_white_and_black_dashes():
    truth = Sample("a", plain(200, 200), np.array([[40.0, 50, 160, 150]]), ("x",))
    image = np.asarray(draw(plain(200, 200), found(), truth))
    edge = image[50, 40:160, 0].tolist()
    assert {0, 255, GREY} == set(edge)
    assert (image[60:140, 50:150] == GREY).all()


def test_truth_leaves_the_outline_of_a_detection_in_the_same_place_visible():
    truth = Sample("a", plain(200, 200), np.array([[40.0, 50, 160, 150]]), ("x",))
    shown = pixels_of(draw(plain(200, 200), found([40, 50, 160, 150]), truth), 1)
    assert shown[149, 40:160].mean() > 0.3


def test_the_first_36_classes_have_colours_of_their_own():
    assert len({class_colour(label) for label in range(1, 37)}) == 36
    assert class_colour(37) == class_colour(1)


def test_a_contact_sheet_holds_every_picture_in_reading_order():
    images = [Image.new("RGB", (100, 50), (value, 0, 0)) for value in (10, 20, 30)]
    sheet = contact_sheet(images, columns=2)
    assert sheet.size == (2 * 102 + 2, 2 * 52 + 2)
    centres = [sheet.getpixel((x, y))[0] for y in (27, 79) for x in (52, 154)]
    assert centres == [10, 20, 30, 255]


def test_a_contact_sheet_has_no_empty_columns_and_centres_smaller_pictures():
    sheet = contact_sheet([Image.new("RGB", (10, 40)), Image.new("RGB", (40, 10))], columns=5)
    assert sheet.size == (86, 44)
    assert sheet.getpixel((22, 22)) == sheet.getpixel((64, 22)) == (0, 0, 0)
    assert sheet.getpixel((64, 5)) == (255, 255, 255)


@pytest.mark.parametrize(("count", "columns"), [(0, 3), (2, 0)])
def test_a_contact_sheet_of_nothing_is_refused(count, columns):
    with pytest.raises(DataError, match="contact sheet"):
        contact_sheet([Image.new("RGB", (5, 5))] * count, columns)
