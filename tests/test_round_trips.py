"""Whatever format a data set is written in, reading it gives the same: splits, names, boxes, flags."""

from pathlib import Path

import numpy as np
import pytest
from odd_data import FLAGS, FORMATS, NAMES, listing, odd_data, picture, sample, sound, stems, truth
from PIL import Image
from pycocotools.coco import COCO

from rcnn import api
from rcnn.data import every_sample, open_data, read_picture
from rcnn.data.writing import write_data
from rcnn.sample import DataSet, Sample


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Path]:
    """The odd data set in each format, by format."""
    folder = tmp_path_factory.mktemp("odd")
    data = odd_data(folder / "pictures")
    return {to: write_data(data, to, folder / to).out for to in FORMATS}


@pytest.mark.parametrize("to", FORMATS)
def test_what_is_written_is_recognised_and_read_back_the_same(to, written, tmp_path):
    given, data = odd_data(tmp_path), sound(written[to])
    assert truth(data, FLAGS[to]) == truth(given, FLAGS[to])
    assert data.class_names == NAMES
    assert stems(data) == stems(given)
    assert not data.drawn


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("first", FORMATS)
def test_every_format_becomes_every_other_and_nothing_changes(first, to, written, tmp_path):
    flags = FLAGS[first] & FLAGS[to]
    before = sound(written[first])
    api.convert_data(written[first], to, tmp_path / "out")
    after = sound(tmp_path / "out")
    assert truth(after, flags) == truth(before, flags)
    assert after.class_names == before.class_names == NAMES
    assert stems(after) == stems(before)


@pytest.mark.parametrize("to", FORMATS)
def test_writing_what_was_written_gives_the_same_bytes(to, written, tmp_path):
    out = api.convert_data(written[to], to, tmp_path / "again").out
    files = {file.relative_to(out): file.read_bytes() for file in out.rglob("*") if file.is_file()}
    first = {file.relative_to(written[to]): file.read_bytes() for file in written[to].rglob("*") if file.is_file()}
    assert files == first


@pytest.mark.parametrize("to", FORMATS)
def test_boxes_come_back_as_the_same_32_bit_floats(to, tmp_path):
    width, height = 1013, 769
    file = picture(tmp_path / "a.png", 1, 1)
    Image.new("L", (width, height)).save(file)
    given = sample("a", file, width, height, *["cat"] * 2_000)
    write_data(DataSet({"train": [given]}, ("cat",)), to, tmp_path / "out")
    (read,) = every_sample(open_data(tmp_path / "out").dataset)
    assert np.array_equal(read.boxes, given.boxes)


def test_what_is_written_as_coco_is_read_by_cocos_own_tools(written):
    tools = COCO(str(written["coco"] / "annotations" / "instances_train.json"))
    given = open_data(written["coco"]).dataset
    assert [category["name"] for category in tools.loadCats(tools.getCatIds())] == list(NAMES)
    for s in given.splits["train"]:
        (number,) = (key for key, image in tools.imgs.items() if image["file_name"] == s.id)
        found = tools.loadAnns(tools.getAnnIds(imgIds=number))
        assert [tools.cats[one["category_id"]]["name"] for one in found] == list(s.names)
        sides = np.concatenate((s.boxes[:, :2], s.boxes[:, 2:] - s.boxes[:, :2]), axis=1)
        assert np.allclose(np.reshape([one["bbox"] for one in found], (-1, 4)), sides, atol=1e-5)


def test_a_detector_has_the_same_ap_on_every_format(run, voc, tmp_path):
    first = api.measure(run, voc, batch=3, device="cpu").to_json()
    for to in ("coco", "yolo", "csv"):
        out = api.convert_data(voc, to, tmp_path / to, splits=["test"]).out
        assert api.measure(run, out, batch=3, device="cpu").to_json() == first


def test_each_format_has_its_own_layout(written):
    files = {to: listing(folder) for to, folder in written.items()}
    assert {"annotations/instances_train.json", "images/a b.jpg"} <= set(files["coco"])
    assert {"Annotations/a b.xml", "ImageSets/Main/trainval.txt", "JPEGImages/a b.jpg"} <= set(files["voc"])
    assert {"data.yaml", "images/train/a b.jpg", "labels/train/a b.txt", "labels/val/100%.txt"} <= set(files["yolo"])
    assert {"train.csv", "val.csv", "images/a b.jpg"} <= set(files["csv"])
    assert all(sum(name.endswith("turned.jpg") for name in names) == 1 for names in files.values())


@pytest.mark.parametrize("to", FORMATS)
def test_pictures_are_copied_to_the_byte_turned_ones_too(to, written, tmp_path):
    given = {Path(s.picture).name: s.picture.read_bytes() for s in every_sample(odd_data(tmp_path))}
    assert {Path(s.picture).name: s.picture.read_bytes() for s in every_sample(sound(written[to]))} == given


def test_the_area_of_outlines_and_the_numbers_of_coco_stay_in_coco(tmp_path):
    file = picture(tmp_path / "a.jpg", 40, 30)
    given = Sample("a.jpg", file, np.array([[1, 2, 11, 22]], np.float32), ("cat",), area=np.array([123.5]), coco_id=77)
    data = DataSet({"train": [given]}, ("dog", "cat"), {"dog": 3, "cat": 90})
    read = open_data(write_data(data, "coco", tmp_path / "coco").out).dataset
    assert (read.category_ids, read.splits["train"][0].coco_id) == ({"dog": 3, "cat": 90}, 77)
    assert read.splits["train"][0].area.tolist() == [123.5]
    assert "area" in write_data(data, "csv", tmp_path / "csv").notes[0]


def test_what_a_format_cannot_hold_is_said(tmp_path):
    data = odd_data(tmp_path / "pictures")
    told = {to: " ".join(write_data(data, to, tmp_path / to).notes) for to in FORMATS}
    assert told["coco"] == told["csv"] == ""
    assert told["voc"] == "VOC cannot hold that a box covers a crowd: lost on 1 of 12 objects"
    assert "YOLO cannot hold that an object is difficult: lost on 1 of 12 objects" in told["yolo"]


def test_objects_too_thin_for_voc_are_left_out_and_said(tmp_path):
    file = picture(tmp_path / "a.jpg", 40, 30)
    given = Sample("a", file, np.array([[1, 2, 2, 22], [1, 2, 2.5, 22]], np.float32), ("cat", "dog"))
    written = write_data(DataSet({"train": [given]}, ("cat", "dog")), "voc", tmp_path / "voc")
    assert written.objects == 1
    assert "1 of the objects" in written.notes[0]
    assert [s.names for s in every_sample(sound(written.out))] == [("dog",)]


@pytest.mark.parametrize("to", FORMATS)
def test_pictures_of_one_name_are_told_apart(to, tmp_path):
    samples = [
        Sample(f"{n}/a", picture(tmp_path / n / "a.jpg", 8, 8, int(n)), np.array([[0, 0, 4, 4]], np.float32), ("cat",))
        for n in "12"
    ]
    samples.append(Sample("1_a", picture(tmp_path / "1_a.jpg", 8, 8, 3)))
    samples.append(Sample("A.png", picture(tmp_path / "A.png", 8, 8, 4)))
    written = write_data(DataSet({"train": samples}, ("cat",)), to, tmp_path / "out")
    read = {Path(s.picture).stem: s for s in every_sample(sound(written.out))}
    assert sorted(read) == ["1_a", "1_a-2", "2_a", "A"]
    pixels = {name: read_picture(s.picture).tobytes() for name, s in read.items()}
    assert len(set(pixels.values())) == 4
    assert any("renamed" in note for note in written.notes)


def test_names_that_no_system_takes_are_replaced(tmp_path):
    given = Sample('a/b:c?"d"', picture(tmp_path / "x.jpg", 8, 8), np.array([[0, 0, 4, 4]], np.float32), ("cat",))
    written = write_data(DataSet({"tr/ain": [given]}, ("cat",)), "yolo", tmp_path / "out")
    assert "labels/tr_ain/b_c__d_.txt" in listing(written.out)
