"""COCO files of every arrangement, and what is reported where they are defective."""

import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rcnn.data.coco import read_coco
from rcnn.data.coco_file import from_coco, to_coco
from rcnn.data.splits import every_sample

CATEGORIES = [{"id": 90, "name": "zebra"}, {"id": 7, "name": "cat"}, {"id": 18, "name": "dog"}]

ANNOTATIONS = count(1)


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30)).save(path)


def image(number: int, name: str, **more) -> dict:
    return {"id": number, "file_name": name, "width": 40, "height": 30, **more}


def box(number: int, bbox=(1, 2, 10, 20), category: int = 7, **more) -> dict:
    return {"id": next(ANNOTATIONS), "image_id": number, "category_id": category, "bbox": bbox, **more}


def write(path: Path, images, annotations=(), categories=CATEGORIES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": list(images), "annotations": list(annotations), "categories": list(categories)}
    path.write_text(json.dumps(content), "utf-8")
    return path


def one(folder: Path, *annotations, **options):
    """The only sample of a file with one picture, and the findings."""
    picture(folder / "a.jpg")
    data = read_coco(write(folder / "truth.json", [image(5, "a.jpg")], annotations, **options))
    return every_sample(data.dataset)[0], data.findings


def told(findings) -> list[tuple]:
    return [(finding.level, finding.kind, finding.object, finding.class_name) for finding in findings]


def ids(data) -> dict[str, list[str]]:
    return {split: [sample.id for sample in samples] for split, samples in data.dataset.splits.items()}


def test_a_coco_box_is_a_corner_with_width_and_height():
    assert from_coco((1.0, 2.0, 10.0, 20.0)) == (1, 2, 11, 22)
    assert to_coco(from_coco((1.5, 2.0, 10.0, 20.25))) == (1.5, 2, 10, 20.25)


def test_a_picture_is_read_with_all_that_the_file_tells(tmp_path):
    annotations = [box(5, (1.5, 2, 10, 20.25), iscrowd=1, area=33.5, segmentation=[[1, 2]]), box(5, category=90)]
    sample, findings = one(tmp_path, *annotations)
    assert findings == []
    assert (sample.id, sample.coco_id, sample.picture) == ("a.jpg", 5, tmp_path / "a.jpg")
    np.testing.assert_array_equal(sample.boxes, [[1.5, 2, 11.5, 22.25], [1, 2, 11, 22]])
    assert sample.names == ("cat", "zebra")
    assert sample.crowd.tolist() == [True, False]
    assert sample.area.tolist() == [33.5, 200]
    assert not sample.difficult.any()


def test_classes_stand_in_the_order_of_their_numbers_with_or_without_boxes(tmp_path):
    picture(tmp_path / "a.jpg")
    dataset = read_coco(write(tmp_path / "truth.json", [image(5, "a.jpg")], [box(5)])).dataset
    assert dataset.class_names == ("cat", "dog", "zebra")
    assert dataset.category_ids == {"cat": 7, "dog": 18, "zebra": 90}


def official(root: Path, *splits: str) -> Path:
    for number, split in enumerate(splits):
        picture(root / split / f"{number}.jpg")
        write(root / "annotations" / f"instances_{split}.json", [image(number, f"{number}.jpg")], [box(number)])
    return root


def test_the_official_layout_gives_train_and_val(tmp_path):
    data = read_coco(official(tmp_path, "train2017", "val2017"))
    assert ids(data) == {"train": ["0.jpg"], "val": ["1.jpg"]}
    assert [sample.picture.parent.name for sample in every_sample(data.dataset)] == ["train2017", "val2017"]
    assert data.sizes == {"0.jpg": (30, 40), "1.jpg": (30, 40)}
    assert data.findings == []


def test_captions_and_keypoints_beside_the_instances_are_passed_over(tmp_path):
    root = official(tmp_path, "train2017")
    write(root / "annotations" / "captions_train2017.json", [image(1, "0.jpg")])
    write(root / "annotations" / "person_keypoints_train2017.json", [image(1, "0.jpg")])
    assert ids(read_coco(root)) == {"train": ["0.jpg"]}


def test_one_file_of_the_official_layout_finds_its_pictures_and_split(tmp_path):
    root = official(tmp_path, "train2017", "val2017")
    assert ids(read_coco(root / "annotations" / "instances_val2017.json")) == {"val": ["1.jpg"]}


@pytest.mark.parametrize("folder", ["", "images", "images/train2017", "train2017", "train", "JPEGImages"])
def test_pictures_are_found_in_the_usual_folders(tmp_path, folder):
    picture(tmp_path / folder / "a.jpg")
    write(tmp_path / "annotations" / "instances_train2017.json", [image(1, "a.jpg")])
    assert every_sample(read_coco(tmp_path).dataset)[0].picture == tmp_path / folder / "a.jpg"


@pytest.mark.parametrize("name", ["sub/a.jpg", "./sub/a.jpg", "sub\\a.jpg"])
def test_a_file_name_with_folders_is_the_id(tmp_path, name):
    picture(tmp_path / "images" / "sub" / "a.jpg")
    data = read_coco(write(tmp_path / "truth.json", [image(1, name)]))
    (sample,) = every_sample(data.dataset)
    assert sample.id == "sub/a.jpg"
    assert sample.picture == tmp_path / "images" / "sub" / "a.jpg"


@pytest.mark.parametrize("name", ["A.JPG", "a.Jpg", "/home/other/a.jpg", "C:\\pictures\\a.jpg"])
def test_case_and_the_folders_of_another_machine_do_not_matter(tmp_path, name):
    picture(tmp_path / "a.jpg")
    data = read_coco(write(tmp_path / "truth.json", [image(1, name)]))
    assert every_sample(data.dataset)[0].picture == tmp_path / "a.jpg"


def test_files_called_after_splits_in_one_folder(tmp_path):
    for number, name in enumerate(["cells_train", "cells_valid", "test-dev", "night"]):
        picture(tmp_path / "images" / f"{number}.jpg")
        write(tmp_path / f"{name}.json", [image(1, f"{number}.jpg")])
    assert set(ids(read_coco(tmp_path))) == {"train", "val", "test", "night"}


def test_files_in_folders_called_after_splits_keep_pictures_of_one_name_apart(tmp_path):
    for split in ("train", "valid", "test"):
        picture(tmp_path / split / "1.jpg")
        write(tmp_path / split / "_annotations.coco.json", [image(1, "1.jpg")])
    data = read_coco(tmp_path)
    assert ids(data) == {"test": ["test/1.jpg"], "train": ["train/1.jpg"], "val": ["val/1.jpg"]}
    assert data.sizes.keys() == {"test/1.jpg", "train/1.jpg", "val/1.jpg"}
    assert [sample.picture.parent.name for sample in every_sample(data.dataset)] == ["test", "train", "valid"]


def test_two_files_that_tell_the_same_split_go_by_their_own_names(tmp_path):
    for name in ("day_train", "night_train"):
        picture(tmp_path / f"{name}.jpg")
        write(tmp_path / f"{name}.json", [image(1, f"{name}.jpg")])
    assert set(ids(read_coco(tmp_path))) == {"day_train", "night_train"}


def test_a_single_file_that_tells_no_split_is_split_by_chance(tmp_path):
    for number in range(20):
        Image.new("RGB", (40, 30 + number)).save(tmp_path / f"{number}.jpg")  # those that are the same stay together
    path = write(tmp_path / "truth.json", [image(number, f"{number}.jpg") for number in range(20)])
    lengths = {split: len(samples) for split, samples in ids(read_coco(path)).items()}
    assert lengths == {"train": 14, "val": 3, "test": 3}


def test_a_picture_without_objects_is_kept(tmp_path):
    sample, findings = one(tmp_path)
    assert sample.boxes.shape == (0, 4)
    assert findings == []


@pytest.mark.parametrize("bbox", [(1, 2, 0, 5), (1, 2, 5, 0), (1, 2, 1e-9, 5)])
def test_a_box_without_area_is_named_and_left_out(tmp_path, bbox):
    sample, findings = one(tmp_path, box(5), box(5, bbox, 18))
    assert sample.names == ("cat",)
    assert told(findings) == [("error", "no-area", 2, "dog")]
    assert findings[0].file == str(tmp_path / "truth.json")
    assert "picture a.jpg" in findings[0].detail


@pytest.mark.parametrize(
    "bbox", [(1, 2, float("nan"), 5), (1, 2, float("inf"), 5), (1, 2, 3), (1, 2, "x", 5), (1, None, 3, 4), ()]
)
def test_a_box_that_is_not_four_numbers_is_named(tmp_path, bbox):
    sample, findings = one(tmp_path, box(5, bbox))
    assert sample.names == ()
    assert told(findings) == [("error", "not-a-number", 1, "cat")]


@pytest.mark.parametrize("bbox", [None, "1 2 3 4", {"x": 1}])
def test_an_annotation_without_a_box_is_named(tmp_path, bbox):
    assert told(one(tmp_path, box(5, bbox))[1]) == [("error", "no-box", 1, "cat")]


@pytest.mark.parametrize("category", [1, None, "7", [7]])
def test_a_category_that_is_not_listed_is_named(tmp_path, category):
    assert told(one(tmp_path, box(5, category=category))[1]) == [("error", "unknown-category", 1, None)]


@pytest.mark.parametrize("area", [None, 0, -1, "x", float("nan")])
def test_an_area_that_is_none_is_that_of_the_box(tmp_path, area):
    assert one(tmp_path, box(5, area=area))[0].area.tolist() == [200]


def test_a_box_over_the_edge_is_cut_with_a_warning_and_a_rounded_one_in_silence(tmp_path):
    sample, findings = one(tmp_path, box(5, (30, 20, 11, 10)), box(5, (31, 20, 9.25, 10)))
    assert sample.boxes.tolist() == [[30, 20, 40, 30], [31, 20, 40, 30]]
    assert told(findings) == [("warning", "outside", 1, "cat")]


def test_a_box_that_lies_outside_is_an_error(tmp_path):
    assert told(one(tmp_path, box(5, (40, 2, 9, 9)))[1]) == [("error", "outside", 1, "cat")]


def test_annotations_of_an_unknown_picture_are_an_error(tmp_path):
    assert told(one(tmp_path, box(6), box(6))[1]) == [("error", "unknown-picture", None, None)]


def test_a_missing_picture_is_an_error_and_never_taken_from_another_split(tmp_path):
    root = official(tmp_path, "train2017", "val2017")
    (root / "val2017" / "1.jpg").unlink()
    picture(root / "train2017" / "1.jpg")
    data = read_coco(root)
    assert ids(data) == {"train": ["0.jpg"], "val": []}
    assert told(data.findings) == [("error", "missing-picture", None, None)]
    assert "1.jpg" in data.findings[0].detail


def test_what_is_given_twice_is_an_error_and_the_first_is_kept(tmp_path):
    picture(tmp_path / "a.jpg")
    picture(tmp_path / "b.jpg")
    images = [image(1, "a.jpg"), image(1, "b.jpg"), image(2, "a.jpg"), image(3, "A.jpg")]
    categories = [*CATEGORIES, {"id": 7, "name": "cow"}, {"id": 8, "name": "cat"}]
    data = read_coco(write(tmp_path / "truth.json", images, [box(1), box(1, (1, 2, 3, 4), category=8)], categories))
    (sample,) = every_sample(data.dataset)
    assert (sample.id, sample.names) == ("a.jpg", ("cat", "cat"))
    assert data.dataset.category_ids["cat"] == 7
    assert sorted(told(data.findings)) == [("error", "duplicate-id", None, None)] * 4 + [
        ("warning", "duplicate-id", None, None)
    ]


def test_files_that_number_their_categories_otherwise_are_joined_by_name(tmp_path):
    root = official(tmp_path, "train2017", "val2017")
    other = [{"id": 1, "name": "cat"}, {"id": 2, "name": "ant"}]
    write(root / "annotations" / "instances_val2017.json", [image(1, "1.jpg")], [box(1, category=1)], other)
    data = read_coco(root)
    assert data.dataset.class_names == ("ant", "cat", "dog", "zebra")
    assert data.dataset.splits["val"][0].names == ("cat",)
    assert told(data.findings) == [("warning", "duplicate-id", None, None)]


def test_entries_that_lack_what_they_need_are_errors(tmp_path):
    picture(tmp_path / "a.jpg")
    images = [image(1, "a.jpg"), {"id": 2}, "x", image([1], "b.jpg")]
    data = read_coco(write(tmp_path / "truth.json", images, [7, {"bbox": [1, 2, 3, 4]}], [*CATEGORIES, {"name": "x"}]))
    assert told(data.findings) == [("error", "broken-entry", None, None)] * 6


def test_words_may_be_numbers_of_pictures(tmp_path):
    picture(tmp_path / "a.jpg")
    data = read_coco(write(tmp_path / "truth.json", [image("x1", "a.jpg")], [box("x1")]))
    (sample,) = every_sample(data.dataset)
    assert sample.names == ("cat",)
    assert sample.coco_id is None


def test_a_size_that_is_left_out_is_asked_of_the_picture(tmp_path):
    picture(tmp_path / "a.jpg")
    data = read_coco(write(tmp_path / "truth.json", [{"id": 5, "file_name": "a.jpg"}], [box(5, (30, 20, 90, 90))]))
    assert every_sample(data.dataset)[0].boxes.tolist() == [[30, 20, 40, 30]]
    assert data.sizes == {}


@pytest.mark.parametrize(
    "content", ["", "{", "[" * 100_000, "[]", "7", '{"images": {}}', '{"images": [], "annotations": []}']
)
def test_a_file_that_is_not_cocos_json_is_a_finding_of_one_line(tmp_path, content):
    path = tmp_path / "truth.json"
    path.write_text(content)
    (found,) = read_coco(path).findings
    assert (found.level, found.kind, found.file) == ("error", "broken-json", str(path))
    assert "\n" not in found.detail


def test_a_file_that_begins_with_a_byte_order_mark_is_read(tmp_path):
    picture(tmp_path / "a.jpg")
    path = write(tmp_path / "truth.json", [image(1, "a.jpg")])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(every_sample(read_coco(path).dataset)) == 1


def test_a_picture_of_two_files_keeps_its_id(tmp_path):
    picture(tmp_path / "images" / "a.jpg")
    for split in ("train", "trainval"):
        write(tmp_path / "annotations" / f"instances_{split}.json", [image(1, "a.jpg")], [box(1)])
    assert ids(read_coco(tmp_path)) == {"train": ["a.jpg"], "trainval": ["a.jpg"]}


def test_an_object_may_be_difficult(tmp_path):
    sample, findings = one(tmp_path, box(5, difficult=1), box(5, (2, 2, 9, 9)))
    assert sample.difficult.tolist() == [True, False]
    assert findings == []
