"""VOC folders of every arrangement, and what is reported where they are defective."""

from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

from rcnn.data.splits import every_sample
from rcnn.data.voc import from_voc, read_voc, to_voc
from rcnn.errors import DataError


def picture(path: Path, width: int = 40, height: int = 30) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), crc32(path.name.encode()) & 0xFFFFFF).save(path)


def obj(box=(1, 1, 10, 10), name="cat", extra="") -> str:
    corners = "".join(f"<{c}>{v}</{c}>" for c, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name>{extra}<bndbox>{corners}</bndbox></object>"


SIZE = "<size><width>40</width><height>30</height></size>"


def xml(path: Path, *objects: str, filename: str = "", size: str = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation><filename>{filename}</filename>{size}{''.join(objects)}</annotation>", "utf-8")
    return path


def devkit(root: Path, names=("a", "b", "c"), **lists: str) -> Path:
    for name in names:
        picture(root / "JPEGImages" / f"{name}.jpg")
        xml(root / "Annotations" / f"{name}.xml", obj())
    for split, content in lists.items():
        path = root / "ImageSets" / "Main" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
    return root


def one(root: Path, *objects: str, **options):
    """The only sample of a folder with one picture, and the findings."""
    picture(root / "a.jpg")
    xml(root / "a.xml", *objects, **options)
    data = read_voc(root)
    samples = every_sample(data.dataset)
    return (samples[0] if samples else None), data.findings


def told(findings) -> list[tuple]:
    return [(finding.level, finding.kind, finding.object, finding.class_name) for finding in findings]


def ids(data) -> dict[str, list[str]]:
    return {split: [sample.id for sample in samples] for split, samples in data.dataset.splits.items()}


def test_a_voc_box_counts_from_one_and_includes_its_last_pixel():
    assert from_voc((1.0, 1.0, 10.0, 20.0)) == (0, 0, 10, 20)
    assert to_voc(from_voc((3.0, 4.0, 10.0, 20.0))) == (3, 4, 10, 20)


def test_a_devkit_is_read_with_its_splits(tmp_path):
    data = read_voc(devkit(tmp_path, train="a\n", val="b\n", trainval="a\nb\n", test="\n c \r\n"))
    assert ids(data) == {"train": ["a"], "val": ["b"], "trainval": ["a", "b"], "test": ["c"]}
    assert list(data.dataset.splits) == ["train", "val", "trainval", "test"]
    assert data.findings == []
    sample = data.dataset.splits["train"][0]
    assert sample.picture == tmp_path / "JPEGImages" / "a.jpg"
    assert sample.boxes.tolist() == [[0, 0, 10, 10]]
    assert sample.names == ("cat",)
    assert sample.area.tolist() == [100]
    assert data.sizes["a"] == (30, 40)


@pytest.mark.parametrize("above", ["VOCdevkit/VOC2007", "VOC2012", "vocdevkit/VOC07"])
def test_the_folder_above_a_devkit_will_do(tmp_path, above):
    devkit(tmp_path / above, train="a\nb\nc\n")
    assert ids(read_voc(tmp_path)) == {"train": ["a", "b", "c"]}


def test_two_years_are_not_guessed_between(tmp_path):
    devkit(tmp_path / "VOC2007")
    devkit(tmp_path / "VOC2012")
    with pytest.raises(DataError, match="VOC2007 and VOC2012; give"):
        read_voc(tmp_path)


def test_lists_of_one_class_are_no_splits(tmp_path):
    root = devkit(tmp_path, train="a\nb\n", aeroplane_train="a  1\nb -1\n", dog_val="c  0\n")
    assert list(ids(read_voc(root))) == ["train"]


def test_names_with_spaces_suffixes_and_folders_are_understood_in_lists(tmp_path):
    root = devkit(tmp_path, names=("cell 1", "b", "c"), train="cell 1\nb.jpg\nJPEGImages/c.jpg\n")
    assert ids(read_voc(root)) == {"train": ["cell 1", "b", "c"]}


def test_an_empty_list_is_no_split_and_other_names_are_kept(tmp_path):
    root = devkit(tmp_path, train="a\n", valid="b\n", test="", night="c\n")
    assert list(ids(read_voc(root))) == ["train", "val", "night"]


def test_a_listed_picture_without_annotation_is_an_error_and_a_repeated_line_a_warning(tmp_path):
    data = read_voc(devkit(tmp_path, train="a\nnone\na\nb\nc\n"))
    assert ids(data) == {"train": ["a", "b", "c"]}
    assert told(data.findings) == [
        ("warning", "duplicate-id", None, None),
        ("error", "missing-annotation", None, None),
    ]
    assert data.findings[1].file.endswith("train.txt")
    assert "none" in data.findings[1].detail


def test_a_test_list_without_any_annotation_is_left_out_with_a_warning(tmp_path):
    data = read_voc(devkit(tmp_path, train="a\nb\nc\n", test="x\ny\n"))
    assert list(ids(data)) == ["train"]
    assert told(data.findings) == [("warning", "missing-annotation", None, None)]


def test_annotations_in_no_list_are_left_out_and_counted(tmp_path):
    root = devkit(tmp_path, train="a\n")
    xml(root / "Annotations" / "b.xml", obj(name="dog"))
    data = read_voc(root)
    assert [(finding.kind, finding.detail[:2]) for finding in data.findings] == [("not-in-split", "2 ")]
    assert data.dataset.class_names == ("cat",)


def test_a_listed_picture_with_a_broken_annotation_is_reported_once(tmp_path):
    root = devkit(tmp_path, train="a\nb\nc\n")
    (root / "Annotations" / "b.xml").write_text("<annotation>")
    data = read_voc(root)
    assert ids(data) == {"train": ["a", "c"]}
    assert [finding.kind for finding in data.findings if finding.level == "error"] == ["broken-xml"]


def test_class_names_are_those_of_all_splits_sorted(tmp_path):
    root = devkit(tmp_path, train="a\nb\n", test="c\n")
    xml(root / "Annotations" / "c.xml", obj(name="zebra"), obj(name="ant"))
    assert read_voc(root).dataset.class_names == ("ant", "cat", "zebra")


def test_annotations_apart_from_pictures_are_matched_by_name(tmp_path):
    for name in "abc":
        picture(tmp_path / "images" / f"{name}.JPG")
        xml(tmp_path / "annotations" / f"{name}.xml", obj(), filename="something else.jpg")
    data = read_voc(tmp_path)
    assert {sample.id: sample.picture.name for sample in every_sample(data.dataset)} == {x: f"{x}.JPG" for x in "abc"}
    assert data.findings == []


@pytest.mark.parametrize("filename", ["b.jpg", "B.JPG", "b.png", "C:\\work\\b.jpg", "/home/me/b.jpg", " b "])
def test_a_picture_of_another_name_is_found_by_filename(tmp_path, filename):
    picture(tmp_path / "images" / "b.jpg")
    xml(tmp_path / "annotations" / "a.xml", obj(), filename=filename)
    (sample,) = every_sample(read_voc(tmp_path).dataset)
    assert sample.picture == tmp_path / "images" / "b.jpg"
    assert sample.id == "a"


def test_filename_decides_between_pictures_of_one_stem(tmp_path):
    for suffix in ("bmp", "jpg", "png"):
        picture(tmp_path / f"a.{suffix}")
    xml(tmp_path / "a.xml", obj(), filename="a.jpg")
    assert every_sample(read_voc(tmp_path).dataset)[0].picture.name == "a.jpg"


def test_masks_of_the_devkit_are_not_taken_for_pictures(tmp_path):
    root = devkit(tmp_path, train="a\nb\nc\n")
    picture(root / "SegmentationClass" / "a.png")
    data = read_voc(root)
    assert data.dataset.splits["train"][0].picture.name == "a.jpg"
    assert data.findings == []


def test_folders_called_like_splits_are_splits_and_names_may_repeat_in_them(tmp_path):
    for split in ("train", "valid", "test"):
        picture(tmp_path / split / "1.jpg")
        xml(tmp_path / split / "1.xml", obj())
    data = read_voc(tmp_path)
    assert ids(data) == {"train": ["train/1"], "val": ["valid/1"], "test": ["test/1"]}
    assert [sample.picture.parent.name for sample in every_sample(data.dataset)] == ["train", "valid", "test"]


def test_pictures_and_annotations_in_parallel_folders_are_matched(tmp_path):
    for split in ("val", "train"):
        picture(tmp_path / "images" / split / "1.jpg")
        xml(tmp_path / "labels" / split / "1.xml", obj())
    samples = read_voc(tmp_path).dataset.splits
    assert {split: sample.picture.parent.name for split, (sample,) in samples.items()} == {
        "train": "train",
        "val": "val",
    }


def test_without_any_splits_they_are_drawn(tmp_path):
    root = devkit(tmp_path, names=[f"p{i}" for i in range(20)])
    assert {split: len(samples) for split, samples in ids(read_voc(root)).items()} == {"train": 14, "val": 3, "test": 3}


def test_hidden_files_are_passed_over(tmp_path):
    devkit(tmp_path, train="a\nb\nc\n")
    (tmp_path / "Annotations" / "._a.xml").write_bytes(b"\0\1")
    assert read_voc(tmp_path).findings == []


def test_a_picture_without_objects_is_kept(tmp_path):
    sample, findings = one(tmp_path)
    assert sample.boxes.shape == (0, 4)
    assert findings == []


def test_a_picture_without_annotation_is_left_out_with_a_warning(tmp_path):
    picture(tmp_path / "b.jpg")
    _, findings = one(tmp_path, obj())
    assert told(findings) == [("warning", "missing-annotation", None, None)]


def test_a_missing_picture_is_an_error(tmp_path):
    path = xml(tmp_path / "a.xml", obj(), filename="b.jpg")
    data = read_voc(tmp_path)
    assert told(data.findings) == [("error", "missing-picture", None, None)]
    assert str(data.findings[0]) == f"{path}: no picture called a or b.jpg"


def test_two_annotations_of_one_picture_are_an_error_and_the_first_is_kept(tmp_path):
    xml(tmp_path / "b.xml", obj(), filename="a.jpg")
    sample, findings = one(tmp_path, obj())
    assert sample.id == "a"
    assert told(findings) == [("error", "duplicate-id", None, None)]


@pytest.mark.parametrize("text", ["1", "true", " 1 "])
def test_difficult_objects_are_kept_and_marked(tmp_path, text):
    sample, _ = one(tmp_path, obj(extra=f"<difficult>{text}</difficult>"), obj(extra="<difficult>0</difficult>"), obj())
    assert sample.difficult.tolist() == [True, False, False]
    assert not sample.crowd.any()


@pytest.mark.parametrize("box", [(5, 5, 5, 5), (5, 5, 5, 9), (5, 5, 9, 5)])
def test_a_box_without_area_is_named_and_left_out(tmp_path, box):
    sample, findings = one(tmp_path, obj(), obj(box, "dog"), obj(name="ant"))
    assert sample.names == ("cat", "ant")
    assert told(findings) == [("error", "no-area", 2, "dog")]
    assert str(findings[0]) == f"{tmp_path / 'a.xml'}: object 2 (dog): box {box} has no area"


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "ten", "", "  ", "1 2", "0x10", "9" * 400, "1\n2"])
def test_a_coordinate_that_is_no_number_is_named(tmp_path, value):
    sample, findings = one(tmp_path, obj((1, value, 9, 9)))
    assert sample.names == ()
    assert told(findings) == [("error", "not-a-number", 1, "cat")]
    assert "\n" not in str(findings[0])
    assert len(findings[0].detail) < 200


def test_broken_coordinates_of_several_sorts_do_not_hide_each_other(tmp_path):
    no_box, no_name, empty = "<object><name>cat</name></object>", obj(name=" "), "<object/>"
    _, findings = one(tmp_path, no_box, no_name, empty, "<object><name>cat</name><bndbox/></object>")
    assert [finding.kind for finding in findings] == ["no-box", "no-name", "no-name", "not-a-number"]
    assert [finding.object for finding in findings] == [1, 2, 3, 4]


def test_fractions_are_kept_and_names_lose_their_outer_blanks(tmp_path):
    sample, _ = one(tmp_path, obj((1.5, 2.25, 10.5, 20), " black \n cat "))
    assert sample.boxes.tolist() == [[0.5, 1.25, 10.5, 20]]
    assert sample.names == ("black cat",)


def test_the_boxes_of_parts_are_not_taken_for_the_objects(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>2</xmin></bndbox></part>"
    sample, findings = one(tmp_path, obj(extra=part))
    assert sample.boxes.tolist() == [[0, 0, 10, 10]]
    assert findings == []


@pytest.mark.parametrize(
    ("box", "cut", "pixels"),
    [
        ((0, 1, 10, 10), (0, 0, 10, 10), "1"),
        ((1, 1, 41, 30), (0, 0, 40, 30), "1"),
        ((30, 20, 50, 90), (29, 19, 40, 30), "60"),
    ],
)
def test_a_box_over_the_edge_is_cut_with_a_warning(tmp_path, box, cut, pixels):
    sample, findings = one(tmp_path, obj(box))
    np.testing.assert_array_equal(sample.boxes, [cut])
    assert told(findings) == [("warning", "outside", 1, "cat")]
    assert f"{pixels} px" in findings[0].detail


@pytest.mark.parametrize("box", [(41, 1, 50, 9), (1, 31, 9, 40), (-9, 1, 0, 9)])
def test_a_box_that_lies_outside_is_an_error(tmp_path, box):
    sample, findings = one(tmp_path, obj(box))
    assert sample.names == ()
    assert told(findings) == [("error", "outside", 1, "cat")]


def test_a_wrong_size_in_the_annotation_cuts_nothing_that_fits_the_picture(tmp_path):
    sample, findings = one(tmp_path, obj((1, 1, 40, 30)), size="<size><width>30</width><height>20</height></size>")
    assert sample.boxes.tolist() == [[0, 0, 40, 30]]
    assert findings == []


@pytest.mark.parametrize(
    "size", ["", "<size/>", "<size><width>0</width><height>0</height></size>", "<size><width>x</width></size>"]
)
def test_without_a_size_the_picture_itself_is_asked(tmp_path, size):
    sample, findings = one(tmp_path, obj((30, 20, 50, 30)), size=size)
    assert sample.boxes.tolist() == [[29, 19, 40, 30]]
    told_wrong = [("warning", "zero-size", None, None)] if ">x<" in size or ">0<" in size else []
    assert told(findings) == [*told_wrong, ("warning", "outside", 1, "cat")]
    assert read_voc(tmp_path).sizes == {}


BOMB = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;">]><annotation><filename>&y;</filename></annotation>'
FOREIGN = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><annotation><filename>&x;</filename></annotation>'


@pytest.mark.parametrize(
    "content", [BOMB, FOREIGN, "", "<annotation>", "no xml", "<svg/>", '<?xml version="1.0" encoding="no"?><a/>']
)
def test_a_broken_or_hostile_xml_file_is_named_and_left_out(tmp_path, content):
    picture(tmp_path / "b.jpg")
    (tmp_path / "b.xml").write_text(content)
    sample, findings = one(tmp_path, obj())
    errors = [finding for finding in findings if finding.level == "error"]
    assert sample.id == "a"
    assert told(errors) == [("error", "unsafe-xml" if "ENTITY" in content else "broken-xml", None, None)]
    assert "\n" not in str(errors[0])
    assert errors[0].file == str(tmp_path / "b.xml")


def test_letters_beyond_ascii_are_read_in_the_encoding_that_the_file_names(tmp_path):
    picture(tmp_path / "a.jpg")
    text = f'<?xml version="1.0" encoding="ISO-8859-1"?><annotation>{obj(name="Mäuse")}</annotation>'
    (tmp_path / "a.xml").write_bytes(text.encode("latin-1"))
    assert read_voc(tmp_path).dataset.class_names == ("Mäuse",)


def test_a_folder_without_xml_is_refused(tmp_path):
    with pytest.raises(DataError, match="no XML file"):
        read_voc(tmp_path)


def test_a_list_of_classes_tells_their_order(tmp_path):
    root = devkit(tmp_path, train="a\nb\nc\n")
    (root / "ImageSets" / "classes.txt").write_text("zebra\n\ndog\n")
    assert read_voc(root).dataset.class_names == ("zebra", "dog", "cat")
