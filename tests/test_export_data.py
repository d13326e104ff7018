"""The pictures that an export looks at: on two canvases always, and for 8 bits never all of them at once."""

import weakref

import numpy as np
import pytest
from conftest import shape_sample
from test_stages import detector_of

from rcnn.api.export_data import ExportInputs, original_cases
from rcnn.sample import Sample

WIDE, TALL, SQUARE = (70, 100), (100, 70), (90, 91)


@pytest.fixture(scope="module")
def detector():
    return detector_of("faster-rcnn")


def pictures_of(*sizes):
    return [shape_sample(f"p{place}", size).picture for place, size in enumerate(sizes)]


@pytest.mark.parametrize(
    "sizes",
    [(), (WIDE,), (SQUARE,), (WIDE, WIDE, WIDE), (SQUARE, SQUARE), (TALL, TALL, SQUARE), (WIDE,) * 8 + (TALL,)],
)
def test_there_are_always_two_canvases(detector, sizes):
    first, second = ExportInputs(detector, "uint8").canvases(pictures_of(*sizes))
    assert first["images"].shape != second["images"].shape
    assert len(first["images"]) == len(second["images"]) == 4
    own, given = original_cases(ExportInputs(detector, "picture"), pictures_of(*sizes))
    assert own[0]["images"].shape != own[1]["images"].shape
    assert [given[0]["images"].any(), given[1]["images"].any(), given[2]["images"].any()] == [True, True, False]
    for laid_out, picture in zip(own, given, strict=True):
        assert laid_out["original_sizes"].tolist() == [list(picture["images"].shape[:2])]


def test_pictures_that_are_given_are_looked_at_before_turned_ones(detector):
    wide, tall = pictures_of(WIDE, TALL)
    own, given = original_cases(ExportInputs(detector, "picture"), [wide, tall])
    for one, picture in zip(given, (wide, tall), strict=False):
        np.testing.assert_array_equal(one["images"], picture)
    assert len(own) == 3


def test_pictures_are_laid_out_anew_at_each_pass_and_never_before(detector):
    looked = []

    def called(name):
        def picture():
            looked.append(name)
            return shape_sample(name, WIDE).picture

        return picture

    feeds = ExportInputs(detector, "uint8").feeds([Sample(name, called(name)) for name in "abc"], None)
    assert (len(feeds), looked) == (3, [])
    first, second = list(feeds), list(feeds)
    assert looked == list("abcabc")
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one["images"], other["images"])


def test_a_fixed_batch_is_calibrated_on_different_pictures_of_one_canvas(detector):
    inputs = ExportInputs(detector, "uint8")
    samples = [shape_sample(f"s{place}", size) for place, size in enumerate((WIDE, TALL, WIDE, WIDE, TALL, WIDE, WIDE))]
    alone = {sample.id: inputs.arrays(sample.picture)["images"].tobytes() for sample in samples}
    names = {content: name for name, content in alone.items()}
    feeds = inputs.feeds(samples, 3)
    seen = [[names[picture.tobytes()] for picture in feed["images"]] for feed in feeds]
    assert len(feeds) == 3
    assert seen == [["s0", "s2", "s3"], ["s5", "s6", "s0"], ["s1", "s4", "s1"]]
    assert all(len(feed["sizes"]) == len(feed["original_sizes"]) == 3 for feed in feeds)


def test_feeds_of_a_fixed_batch_are_not_kept(detector):
    feeds = ExportInputs(detector, "uint8").feeds([shape_sample(name, WIDE) for name in "abcd"], 2)
    gone = [weakref.ref(feed["images"]) for feed in feeds]
    assert [reference() is None for reference in gone] == [True, True]
