"""A data set is recognised by looking, checked to the last picture, enforced and split."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rcnn.data import (
    Finding,
    OpenedData,
    check_pictures,
    draw_splits,
    enforce,
    every_sample,
    open_data,
    picture_size,
    read_picture,
    samples_of,
)
from rcnn.errors import DataError
from rcnn.sample import DataSet, Sample

ANNOTATION = "<annotation><size><width>40</width><height>30</height></size>{}</annotation>"
OBJECT = "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{}</xmax><ymax>9</ymax></bndbox></object>"


def picture(path: Path, width: int = 40, height: int = 30, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **options)
    return path


def voc(folder: Path, **xmax: int) -> Path:
    """A picture with one object per name."""
    for name, value in xmax.items():
        picture(folder / f"{name}.jpg")
        (folder / f"{name}.xml").write_text(ANNOTATION.format(OBJECT.format(value)))
    return folder


def coco(path: Path) -> Path:
    picture(path.parent / "a.jpg")
    content = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    path.write_text(json.dumps(content))
    return path


def samples(count: int, prefix: str = "p") -> list[Sample]:
    return [Sample(f"{prefix}{number}", np.zeros((2, 2, 3), np.uint8)) for number in range(count)]


def dataset(**counts: int) -> DataSet:
    return DataSet({split: samples(count, split) for split, count in counts.items()}, ("cat",))


def finding(number: int = 1, file: str = "a.xml", level="error") -> Finding:
    return Finding(level, "no-area", file, number, "cat", "has no area")


def yolo(folder: Path) -> Path:
    picture(folder / "images" / "y.jpg")
    (folder / "labels").mkdir()
    (folder / "labels" / "y.txt").write_text("0 .5 .5 .5 .5\n")
    (folder / "data.yaml").write_text("train: images\nnames: [yak]\n")
    return folder


def csv(folder: Path) -> Path:
    picture(folder / "c.jpg")
    (folder / "boxes.csv").write_text("file,x1,y1,x2,y2,class\nc.jpg,1,2,11,22,cow\n")
    return folder


def test_the_four_formats_are_told_apart_by_looking(tmp_path):
    (tmp_path / "coco").mkdir()
    file = coco(tmp_path / "coco" / "truth.json")
    assert open_data(voc(tmp_path / "voc", a=9)).dataset.category_ids == {}
    assert open_data(file).dataset.category_ids == {"cat": 1}
    assert open_data(file.parent).dataset.category_ids == {"cat": 1}
    for path, name in ((yolo(tmp_path / "yolo"), "yak"), (csv(tmp_path / "csv"), "cow")):
        assert open_data(path).dataset.class_names == (name,)
    assert open_data(tmp_path / "yolo" / "data.yaml").dataset.class_names == ("yak",)
    assert open_data(tmp_path / "csv" / "boxes.csv").dataset.class_names == ("cow",)


def test_json_and_xml_of_other_programs_do_not_confuse(tmp_path):
    voc(tmp_path, a=9)
    (tmp_path / "package.json").write_text('{"name": "x", "info": {}}')
    assert open_data(tmp_path).dataset.class_names == ("cat",)


def test_where_both_are_found_the_format_must_be_given(tmp_path):
    voc(tmp_path, a=9)
    coco(tmp_path / "truth.json")
    with pytest.raises(DataError, match="both VOC and COCO"):
        open_data(tmp_path)
    assert open_data(tmp_path, "voc").dataset.category_ids == {}
    assert open_data(tmp_path, "coco").dataset.category_ids == {"cat": 1}
    yolo(tmp_path)
    csv(tmp_path)
    with pytest.raises(
        DataError, match="holds VOC, COCO, YOLO, CSV annotations; pass --format voc or --format coco or"
    ):
        open_data(tmp_path)
    assert open_data(tmp_path, "yolo").dataset.class_names == ("yak",)
    assert open_data(tmp_path, "csv").dataset.class_names == ("cow",)


def test_text_files_of_other_programs_are_no_labels(tmp_path):
    picture(tmp_path / "a.jpg")
    for name, content in {
        "a.txt": "a cat on a mat",
        "b.txt": "0 .5 .5 .5 .5",
        "a.csv": "epoch,loss\n1,2\n",
        "a.yaml": "names: [x]\n",
    }.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match="no data set found"):
        open_data(tmp_path)


def test_a_misspelt_path_or_format_is_answered_with_the_nearest(tmp_path):
    csv(tmp_path / "animals")
    with pytest.raises(DataError, match=r"no such file or folder \(did you mean 'animals'\?\)"):
        open_data(tmp_path / "animal")
    with pytest.raises(DataError, match=r"'YOLOv8': not known \(did you mean 'yolo'\?\); give voc, coco, yolo or csv"):
        open_data(tmp_path, "YOLOv8")


def test_what_cannot_be_recognised_tells_what_was_looked_for_and_found(tmp_path):
    picture(tmp_path / "images" / "a.jpg")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 1 1")
    with pytest.raises(
        DataError, match=r"looked for VOC .*, COCO .*, YOLO .* or CSV .*, found folder images, 1 \.txt file"
    ):
        open_data(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"), [("none", "no such"), ("empty", "empty folder"), ("a.zip", r"a \.zip file")]
)
def test_what_is_no_data_set_is_refused_in_one_line(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=message) as caught:
        open_data(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_a_format_that_is_not_known_or_does_not_fit_is_refused(tmp_path):
    with pytest.raises(DataError, match="'tfrecord': not known; give voc, coco, yolo or csv"):
        open_data(tmp_path, "tfrecord")
    with pytest.raises(DataError, match="a folder: give that"):
        open_data(coco(tmp_path / "truth.json"), "voc")


def test_good_pictures_give_no_findings(tmp_path):
    data = open_data(voc(tmp_path, a=9, b=9))
    assert check_pictures(every_sample(data.dataset), sizes=data.sizes) == []


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_truncated_picture_is_found(tmp_path, name):
    path = picture(tmp_path / name, 90, 60)
    path.write_bytes(path.read_bytes()[:-200])
    (found,) = check_pictures([Sample("a", path)])
    assert (found.level, found.kind, found.file, found.object) == ("error", "truncated-picture", str(path), None)
    assert str(found).count(str(path)) == 1


def test_a_missing_a_foreign_and_a_large_picture_are_found(tmp_path):
    (tmp_path / "b.jpg").write_text("hello")
    large = picture(tmp_path / "c.png")
    paths = [tmp_path / "a.jpg", tmp_path / "b.jpg", large]
    found = check_pictures([Sample(path.name, path) for path in paths], max_pixels=1000)
    assert [finding.kind for finding in found] == ["missing-picture", "not-a-picture", "unreadable-picture"]


def test_another_size_than_annotated_is_a_warning(tmp_path):
    path = picture(tmp_path / "a.jpg")
    (found,) = check_pictures([Sample("a", path)], sizes={"a": (40, 30)})
    assert (found.level, found.kind) == ("warning", "size")
    assert "30x40" in found.detail
    assert "40x30" in found.detail


def test_the_size_is_that_of_the_picture_as_shown(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = picture(tmp_path / "a.jpg", exif=exif)
    assert check_pictures([Sample("a", path)], sizes={"a": picture_size(path)}) == []


def test_boxes_drawn_on_another_size_are_an_error_of_the_picture(tmp_path):
    path = picture(tmp_path / "a.jpg")
    sample = Sample("a", path, np.array([[0, 0, 41, 30], [0, 0, 80, 60]], np.float32), ("cat", "cat"))
    (found,) = check_pictures([sample])
    assert (found.level, found.kind, found.object) == ("error", "outside", None)
    assert found.detail.startswith("1 of 2 boxes")


def test_arrays_and_functions_are_checked_too(tmp_path):
    pixels = np.zeros((30, 40, 3), np.uint8)
    good = [Sample("a", pixels), Sample("b", lambda: pixels)]
    assert check_pictures(good, sizes={"a": (30, 40), "b": (30, 40)}) == []
    (found,) = check_pictures([Sample("c", lambda: pixels[0])])
    assert (found.kind, found.file) == ("unreadable-picture", "c")


def test_a_sample_of_two_splits_is_checked_once(tmp_path):
    sample = Sample("a", tmp_path / "none.jpg")
    assert len(check_pictures([sample, sample])) == 1


def test_fail_lists_a_line_per_error_below_a_headline(tmp_path):
    data = open_data(voc(tmp_path, a=1, b=1, c=9))
    with pytest.raises(DataError) as caught:
        enforce(data.dataset, data.findings, "fail", "bccd")
    assert str(caught.value).splitlines() == [
        "bccd: 2 defective objects; mend them or pass --bad-boxes drop",
        f"{tmp_path / 'a.xml'}: object 1 (cat): box (1, 1, 1, 9) has no area",
        f"{tmp_path / 'b.xml'}: object 1 (cat): box (1, 1, 1, 9) has no area",
    ]


def test_the_list_stops_after_twenty_lines():
    with pytest.raises(DataError) as caught:
        enforce(dataset(train=1), [finding(number) for number in range(23)], "fail")
    lines = str(caught.value).splitlines()
    assert len(lines) == 22
    assert lines[-1] == "... and 3 more"


def test_the_headline_counts_objects_and_other_defects():
    broken = Finding("error", "broken-xml", "b.xml", None, None, "cannot be read")
    with pytest.raises(DataError, match="data: 1 defective object and 1 other defect; mend"):
        enforce(dataset(train=1), [finding(), broken], "fail")


@pytest.mark.parametrize("policy", ["fail", "drop"])
def test_warnings_hinder_nobody(policy, caplog):
    data = dataset(train=2)
    assert enforce(data, [finding(level="warning")], policy) == data
    assert caplog.records == []


def test_drop_keeps_the_rest_and_logs_what_goes(tmp_path, caplog):
    data = open_data(voc(tmp_path, a=1, b=9, c=9))
    (tmp_path / "b.jpg").unlink()
    findings = data.findings + check_pictures(every_sample(data.dataset))
    with caplog.at_level(logging.WARNING):
        kept = enforce(data.dataset, findings, "drop", "cells")
    assert sorted(sample.id for sample in every_sample(kept)) == ["a", "c"]
    assert [record.getMessage() for record in caplog.records] == [
        "cells: dropped 1 defective object and 1 other defect",
        f"dropped {tmp_path / 'a.xml'}: object 1 (cat): box (1, 1, 1, 9) has no area",
        f"dropped {tmp_path / 'b.jpg'}: no such picture; mend the path or remove what refers to it",
    ]


def test_the_log_stops_after_twenty_lines(caplog):
    enforce(dataset(train=1), [finding(number) for number in range(23)], "drop")
    assert len(caplog.records) == 22


def test_a_data_set_of_which_nothing_is_left_is_refused(tmp_path):
    sample = Sample("a", tmp_path / "a.jpg")
    data = DataSet({"train": [sample]}, ("cat",))
    with pytest.raises(DataError, match="no picture is left"):
        enforce(data, check_pictures([sample]), "drop")


def test_trainval_is_train_and_val_unless_the_data_has_its_own():
    data = dataset(train=2, val=1)
    assert [sample.id for sample in samples_of(data, "trainval")] == ["train0", "train1", "val0"]
    assert len(samples_of(dataset(train=2, val=1, trainval=7), "trainval")) == 7


def test_a_split_that_is_missing_is_an_error_with_those_that_exist():
    with pytest.raises(DataError, match=r"split 'test': the data has train, val$"):
        samples_of(dataset(train=1, val=1), "test")
    with pytest.raises(DataError, match=r"split 'trainval': the data has train \(did you mean 'train'\?\)"):
        samples_of(dataset(train=1), "trainval")


def test_a_misspelt_split_is_answered_with_the_nearest():
    with pytest.raises(DataError, match="did you mean 'val'"):
        samples_of(dataset(train=1, val=1, test=1), "valid")


def test_drawn_splits_are_70_15_15_and_share_nothing():
    drawn = draw_splits(samples(200))
    assert {split: len(part) for split, part in drawn.items()} == {"train": 140, "val": 30, "test": 30}
    assert len({sample.id for part in drawn.values() for sample in part}) == 200


@pytest.mark.parametrize(("count", "lengths"), [(0, []), (1, [1]), (2, [1, 1]), (3, [1, 1, 1]), (7, [5, 1, 1])])
def test_few_samples_leave_no_split_empty(count, lengths):
    assert [len(part) for part in draw_splits(samples(count)).values()] == lengths


def test_drawn_splits_depend_on_ids_and_seed_alone():
    def ids(drawn):
        return {split: [sample.id for sample in part] for split, part in drawn.items()}

    forward, backward = draw_splits(samples(50)), draw_splits(samples(50)[::-1])
    assert ids(forward) == ids(backward)
    assert ids(forward) != ids(draw_splits(samples(50), seed=1))


def test_the_drawn_splits_of_today_are_those_of_tomorrow():
    drawn = draw_splits(samples(5))
    assert [[sample.id for sample in part] for part in drawn.values()] == [["p0", "p2", "p3"], ["p1"], ["p4"]]


def test_drawn_splits_hardly_change_as_the_data_grows():
    def of(drawn):
        return {sample.id: split for split, part in drawn.items() for sample in part}

    before, after = of(draw_splits(samples(1000))), of(draw_splits(samples(1050)))
    assert sum(before[name] != after[name] for name in before) < 20


DATA = Path(__file__).parents[2] / "shared" / "data"
real = pytest.mark.skipif(not DATA.exists(), reason="the sample data sets are not on this machine")


def counts(data: OpenedData) -> dict[str, tuple[int, int]]:
    return {
        split: (len(part), sum(len(sample.names) for sample in part)) for split, part in data.dataset.splits.items()
    }


@real
def test_bccd_has_two_boxes_without_area():
    data = open_data(DATA / "bccd")
    assert counts(data) == {"train": (205, 2804), "val": (87, 1137), "trainval": (292, 3941), "test": (72, 945)}
    assert not data.dataset.drawn
    assert data.dataset.class_names == ("Platelets", "RBC", "WBC")
    told = [(Path(finding.file).stem, finding.kind, finding.object, finding.class_name) for finding in data.findings]
    assert told == [("BloodImage_00338", "no-area", 13, "RBC"), ("BloodImage_00343", "no-area", 4, "RBC")]


@real
def test_raccoon_is_read_whole_and_split_by_name():
    data = open_data(DATA / "raccoon")
    assert {split: pictures for split, (pictures, _) in counts(data).items()} == {"train": 140, "val": 30, "test": 30}
    assert sum(boxes for _, boxes in counts(data).values()) == 217
    assert data.dataset.drawn
    assert data.findings == []


@real
def test_coco_tiny_keeps_crowds_and_all_classes():
    data = open_data(DATA / "coco_tiny")
    assert counts(data) == {"train": (80, 705), "val": (80, 815)}
    assert len(data.dataset.class_names) == 80
    assert data.dataset.category_ids["toothbrush"] == 90
    assert sum(sample.crowd.sum() for sample in every_sample(data.dataset)) == 17
    assert data.findings == []


@real
@pytest.mark.parametrize("name", ["bccd", "raccoon", "coco_tiny"])
def test_every_real_picture_is_read_whole_and_in_its_annotated_size(name):
    data = open_data(DATA / name)
    assert check_pictures(every_sample(data.dataset), sizes=data.sizes) == []
    for sample in every_sample(data.dataset):
        assert read_picture(sample.picture).shape[:2] == picture_size(sample.picture) == data.sizes[sample.id]


def test_pictures_of_the_same_bytes_are_drawn_into_the_same_split(tmp_path):
    samples = []
    for number in range(40):
        file = tmp_path / f"{number:02}.jpg"
        file.write_bytes(b"picture %02d" % (number // 2))  # pairs; all files are of the same length
        samples.append(Sample(file.stem, file))
    for seed in range(5):
        parts = draw_splits(samples, seed)
        split_of = {sample.id: split for split, part in parts.items() for sample in part}
        assert all(split_of[f"{n:02}"] == split_of[f"{n + 1:02}"] for n in range(0, 40, 2))
        assert sum(map(len, parts.values())) == 40
        assert 26 <= len(parts["train"]) <= 30
        assert parts == draw_splits(samples[::-1], seed)


def test_a_picture_that_is_there_twice_does_not_change_where_others_stand(tmp_path):
    for number in range(30):
        (tmp_path / f"{number:02}.jpg").write_bytes(b"%d" % (10**6 + number))
    samples = [Sample(file.stem, file) for file in sorted(tmp_path.iterdir())]
    (tmp_path / "x.jpg").write_bytes(b"%d" % 10**6)
    before, after = draw_splits(samples), draw_splits([*samples, Sample("x", tmp_path / "x.jpg")])
    moved = {s.id for s in before["train"]} ^ {s.id for s in after["train"]} - {"x"}
    assert len(moved) <= 2
