"""Selective search: what a proposal is, the same list every time, the cache, several processes."""

import ctypes
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import shape_sample
from PIL import Image

from rcnn.errors import ConfigError, DataError
from rcnn.proposals import cache, generate, selective_search
from rcnn.proposals.selective_search import every_region, rank_scores

pytest.importorskip("cv2", reason="needs the extra `proposals`")


def wide(name, size=(40, 400), objects=6):
    """A picture so flat that it is searched quickly."""
    return shape_sample(name, size, objects).picture


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture
def counted(monkeypatch):
    """The pictures that are searched in this process."""
    searched = []

    def count(picture, mode):
        searched.append(picture)
        return every_region(picture, mode)

    monkeypatch.setattr(generate, "every_region", count)
    return searched


def test_proposals_lie_in_the_picture_each_once_and_none_is_small():
    picture = wide("a")
    boxes, scores = selective_search.selective_search(picture)
    assert len(boxes) > 20
    assert boxes.dtype == scores.dtype == np.float32
    assert (boxes >= 0).all()
    assert boxes[:, [0, 2]].max() <= 400
    assert boxes[:, [1, 3]].max() <= 40
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= 20 * 400 / 500 - 1e-3
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert (np.diff(scores) < 0).all()


def test_objects_are_among_the_proposals():
    sample = shape_sample("found", (60, 300), 4)
    boxes, _ = selective_search.selective_search(sample.picture)
    for x1, y1, x2, y2 in sample.boxes:
        low, high = np.maximum(boxes[:, :2], (x1, y1)), np.minimum(boxes[:, 2:], (x2, y2))
        common = np.clip(high - low, 0, None).prod(axis=1)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        assert (common / ((x2 - x1) * (y2 - y1) + area - common)).max() > 0.7


def test_large_regions_tend_to_come_first():
    boxes, _ = selective_search.selective_search(wide("b"))
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    assert areas[: len(areas) // 4].mean() > 1.2 * areas[-len(areas) // 4 :].mean()


def test_the_best_of_more_are_the_same():
    picture = wide("c")
    few, more = (selective_search.selective_search(picture, "fast", count) for count in (15, 2000))
    assert len(few[0]) == 15
    assert same(few, (more[0][:15], more[1][:15]))


def test_the_list_does_not_depend_on_what_ran_before():
    picture, other = wide("d"), wide("e")
    first = selective_search.selective_search(picture)
    library = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)
    library.srand(7)
    library.rand()
    assert same(selective_search.selective_search(picture), first)
    selective_search.selective_search(other)
    assert same(selective_search.selective_search(picture), first)


def test_searches_in_two_threads_do_not_disturb_each_other():
    pictures = [wide("f"), wide("g")]
    alone = [selective_search.selective_search(picture) for picture in pictures]
    with ThreadPoolExecutor(2) as threads:
        for _ in range(3):
            together = list(threads.map(selective_search.selective_search, pictures))
            assert all(same(*pair) for pair in zip(together, alone, strict=True))


def test_quality_finds_more():
    picture = wide("h")
    assert len(every_region(picture, "quality")) > 1.5 * len(every_region(picture, "fast"))


@pytest.mark.parametrize("size", [(1, 1), (30, 30), (600, 2), (3, 900)])
def test_pictures_of_odd_sizes_are_searched(size):
    picture = np.full((*size, 3), 100, np.uint8)
    boxes, scores = selective_search.selective_search(picture)
    assert len(boxes) == len(scores) <= 1
    if len(boxes):  # a picture without any edge is one region
        np.testing.assert_array_equal(boxes[0], (0, 0, size[1], size[0]))


def test_a_view_of_a_picture_is_searched_like_its_copy():
    picture = wide("i")[:, ::-1]
    assert same(selective_search.selective_search(picture), selective_search.selective_search(picture.copy()))


def test_without_opencv_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ConfigError, match=r"needs OpenCV .*pip install 'rcnn\[proposals\]'"):
        selective_search.selective_search(wide("j"))


def test_another_opencv_in_the_way_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace())
    monkeypatch.setattr(selective_search, "_installed", lambda wheel: wheel.endswith("-headless"))
    both = "pip uninstall opencv-python-headless opencv-contrib-python-headless, then pip install"
    with pytest.raises(ConfigError, match=both):
        list(generate.generate([wide("k")]))


def test_what_was_searched_is_not_searched_again(counted, tmp_path):
    pictures = [wide("l"), wide("m")]
    first = list(generate.generate(pictures, cache=tmp_path))
    again = list(generate.generate([*pictures, pictures[0].copy()], maximum=5, cache=tmp_path))
    assert len(counted) == 2
    assert all(same(a, (b[0][:5], b[1][:5])) for a, b in zip(again, [*first, first[0]], strict=True))
    list(generate.generate(pictures, "quality", cache=tmp_path))
    changed = pictures[0].copy()
    changed[0, 0, 0] ^= 1
    list(generate.generate([changed], cache=tmp_path))
    assert len(counted) == 5


@pytest.mark.parametrize("keep", [0, 100, -40])
def test_a_torn_entry_of_the_cache_is_computed_again(keep, counted, tmp_path):
    picture = wide("n")
    (first,) = generate.generate([picture], cache=tmp_path)
    (entry,) = tmp_path.rglob("*.npz")
    whole = entry.read_bytes()
    entry.write_bytes(whole[:keep])
    (again,) = generate.generate([picture], cache=tmp_path)
    assert same(first, again)
    assert len(counted) == 2
    assert len(np.load(entry)["boxes"]) == len(first[0])


def test_a_changed_byte_in_the_cache_is_noticed(counted, tmp_path):
    picture = wide("o")
    (first,) = generate.generate([picture], cache=tmp_path)
    (entry,) = tmp_path.rglob("*.npz")
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 255
    entry.write_bytes(content)
    (again,) = generate.generate([picture], cache=tmp_path)
    assert same(first, again)


def test_processes_find_the_same_in_the_same_order_and_fill_the_cache(tmp_path):
    file = tmp_path / "p.png"
    Image.fromarray(wide("p")).save(file)
    pictures = [wide("q"), file, lambda: wide("r"), wide("s"), str(file)]
    seen = []
    alone = list(generate.generate(pictures))
    together = list(generate.generate(pictures, workers=2, cache=tmp_path / "cache", on_picture=lambda: seen.append(1)))
    assert all(same(*pair) for pair in zip(together, alone, strict=True))
    assert len(seen) == 5
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 4


def test_an_interruption_keeps_what_was_found_before(counted, tmp_path):
    pictures = [wide("t"), wide("u"), wide("v")]

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(generate.generate(pictures, cache=tmp_path, on_picture=stop))
    assert len(list(generate.generate(pictures, cache=tmp_path))) == 3
    assert len(counted) == 3


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jpg: no such picture"):
        list(generate.generate([tmp_path / "gone.jpg"]))


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="set RCNN_CACHE to another folder"):
        list(generate.generate([wide("w")], cache=tmp_path / "file"))


def test_the_cache_lies_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("RCNN_CACHE", str(tmp_path))
    assert cache.cache_folder() == tmp_path
    monkeypatch.delenv("RCNN_CACHE")
    assert cache.cache_folder().is_absolute()


def test_scores_fall_with_the_rank():
    np.testing.assert_allclose(rank_scores(3), [1, 1 / 2, 1 / 3])
    assert rank_scores(0).shape == (0,)
