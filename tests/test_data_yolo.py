"""YOLO data of every arrangement, and what is reported where it is defective."""

from pathlib import Path
from zlib import crc32

import pytest
from PIL import Image

from rcnn.data import every_sample, open_data
from rcnn.data.yolo import read_yolo
from rcnn.data.yolo_labels import from_yolo, to_yolo
from rcnn.errors import DataError

BOX = "0 0.5 0.5 0.5 0.2\n"
NAMES = "names: [cat, dog]\n"


def picture(path: Path, width: int = 40, height: int = 30, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), crc32(path.name.encode()) & 0xFFFFFF).save(path, **options)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, "utf-8")
    return path


def pair(root: Path, folder: str, name: str, labels: str = BOX) -> None:
    """A picture and its labels in parallel folders."""
    picture(root / folder / f"{name}.jpg")
    text(root / folder.replace("images", "labels") / f"{name}.txt", labels)


def one(root: Path, labels: str, names: str = NAMES):
    """The only sample of a data set with one picture, and the findings."""
    pair(root, "images", "a", labels)
    data = read_yolo(text(root / "data.yaml", f"train: images\n{names}"))
    return every_sample(data.dataset)[0], data.findings


def told(findings) -> list[tuple]:
    return [(finding.level, finding.kind, finding.object, finding.class_name) for finding in findings]


def ids(data) -> dict[str, list[str]]:
    return {split: [sample.id for sample in samples] for split, samples in data.dataset.splits.items()}


def test_a_box_is_centre_and_size_in_parts_of_the_picture():
    assert from_yolo((0.5, 0.5, 0.5, 0.2), (30, 40)) == (10, 12, 30, 18)
    assert to_yolo((10.0, 12.0, 30.0, 18.0), (30, 40)) == (0.5, 0.5, 0.5, 0.2)


def test_a_data_yaml_is_read_with_its_splits_and_names(tmp_path):
    for split in ("train", "val", "test"):
        pair(tmp_path, f"images/{split}", split)
    lines = "train: images/train\nval: images/val\ntest: images/test\nnc: 2\nnames:\n  0: dog\n  1: cat\n"
    for data in (read_yolo(text(tmp_path / "data.yaml", lines)), open_data(tmp_path)):
        assert ids(data) == {"train": ["train"], "val": ["val"], "test": ["test"]}
        assert data.dataset.class_names == ("dog", "cat")
        assert data.findings == []
        (sample,) = data.dataset.splits["train"]
        assert sample.picture == tmp_path / "images" / "train" / "train.jpg"
        assert sample.boxes.tolist() == [[10, 12, 30, 18]]
        assert sample.names == ("dog",)
        assert not data.dataset.drawn


def test_a_split_may_be_several_folders(tmp_path):
    pair(tmp_path, "images/one", "a")
    pair(tmp_path, "images/two", "b")
    data = read_yolo(text(tmp_path / "data.yaml", f"train: [images/one, images/two]\nval:\n{NAMES}"))
    assert ids(data) == {"train": ["a", "b"]}
    assert data.findings == []


def test_other_keys_are_splits_where_they_name_what_is_there(tmp_path):
    for split in ("train", "night"):
        pair(tmp_path, f"images/{split}", split)
    lines = "train: images/train\nnight: images/night\nauthor: images/ann\ndownload: https://example.org/a.zip\n"
    data = read_yolo(text(tmp_path / "data.yaml", lines + NAMES))
    assert ids(data) == {"train": ["train"], "night": ["night"]}
    assert data.findings == []


@pytest.mark.parametrize("entry", ["./images/all/{}.jpg", "images/all/{}.jpg", "images\\all\\{}.jpg"])
def test_a_split_may_be_a_list_of_pictures(tmp_path, entry):
    for name in "abc":
        pair(tmp_path, "images/all", name)
    text(tmp_path / "train.txt", f"{entry.format('a')}\n\n{entry.format('b')}\n{entry.format('a')}\n")
    data = read_yolo(text(tmp_path / "data.yaml", f"train: train.txt\n{NAMES}"))
    assert ids(data) == {"train": ["a", "b"]}
    assert told(data.findings) == [("warning", "duplicate-id", None, None)]


@pytest.mark.parametrize("where", ["relative", "absolute"])
def test_the_path_in_a_data_yaml_may_be_relative_to_the_file_or_absolute(tmp_path, where):
    pair(tmp_path / "data", "images/train", "a")
    path = "../data" if where == "relative" else (tmp_path / "data").as_posix()
    data = read_yolo(text(tmp_path / "settings" / "data.yaml", f"path: {path}\ntrain: images/train\n{NAMES}"))
    assert ids(data) == {"train": ["a"]}
    assert data.findings == []


@pytest.mark.parametrize("path", ["/home/somebody/datasets/pets", "../datasets/pets", "D:\\data\\pets"])
def test_the_path_of_another_machine_is_replaced_by_the_files_own_folder_with_a_warning(tmp_path, path):
    pair(tmp_path, "images/train", "a")
    data = read_yolo(text(tmp_path / "data.yaml", f"path: {path}\ntrain: images/train\n{NAMES}"))
    assert ids(data) == {"train": ["a"]}
    assert told(data.findings) == [("warning", "wrong-path", None, None)]
    assert path in data.findings[0].detail


@pytest.mark.parametrize("entry", ["../train/images", "/home/somebody/pets/train/images", "C:\\pets\\train\\images"])
def test_a_folder_of_another_machine_is_found_by_the_end_of_its_path(tmp_path, entry):
    pair(tmp_path, "train/images", "a")
    pair(tmp_path, "images", "b")
    data = read_yolo(text(tmp_path / "data.yaml", f"train: {entry}\n{NAMES}"))
    assert ids(data) == {"train": ["a"]}
    assert told(data.findings) == [("warning", "wrong-path", None, None)]


def test_a_split_that_is_not_there_is_an_error_and_never_taken_from_another_folder(tmp_path):
    pair(tmp_path, "images", "a")
    data = read_yolo(text(tmp_path / "data.yaml", f"train: images\nval: ../valid/images\n{NAMES}"))
    assert ids(data) == {"train": ["a"]}
    assert told(data.findings) == [("error", "missing-split", None, None)]


def test_two_folders_that_could_be_meant_are_told(tmp_path):
    pair(tmp_path / "old", "images", "a")
    pair(tmp_path / "new", "images", "b")
    lines = f"path: {(tmp_path / 'old').as_posix()}\ntrain: images\n{NAMES}"
    data = read_yolo(text(tmp_path / "new" / "data.yaml", lines))
    assert ids(data) == {"train": ["a"]}
    assert told(data.findings) == [("warning", "wrong-path", None, None)]


def test_what_leaves_the_data_folder_is_not_read(tmp_path):
    pair(tmp_path, "images", "secret")
    root = tmp_path / "data"
    pair(root, "images", "a")
    outside = (tmp_path / "images" / "secret.jpg").as_posix()
    text(root / "train.txt", f"images/a.jpg\n../images/secret.jpg\n{outside}\nimages/../../images/secret.jpg\n")
    data = read_yolo(text(root / "data.yaml", f"train: train.txt\nval: ../images\n{NAMES}"))
    assert ids(data) == {"train": ["a"], "val": ["a"]}  # `../images` means the data's own folder of that name
    listed = [finding for finding in data.findings if finding.file.endswith("train.txt")]
    assert told(listed) == [("error", "outside-folder", None, None)] * 3


def test_a_folder_outside_is_refused_where_nothing_inside_could_be_meant(tmp_path):
    pair(tmp_path, "images", "secret")
    pair(tmp_path / "data", "pictures", "a", BOX)
    data = read_yolo(text(tmp_path / "data" / "data.yaml", f"train: pictures\nval: ../images\n{NAMES}"))
    assert ids(data) == {"train": ["a"]}
    assert told(data.findings) == [("error", "outside-folder", None, None)]


def test_a_list_of_another_machine_is_found_by_the_ends_of_its_paths(tmp_path):
    pair(tmp_path, "images/train", "a")
    text(tmp_path / "train.txt", "/home/somebody/pets/images/train/a.jpg\n/home/somebody/pets/images/train/b.jpg\n")
    data = read_yolo(text(tmp_path / "data.yaml", f"train: train.txt\n{NAMES}"))
    assert ids(data) == {"train": ["a"]}
    assert told(data.findings) == [("error", "missing-picture", None, None), ("warning", "wrong-path", None, None)]
    assert "b.jpg" in data.findings[0].detail


@pytest.mark.parametrize("folder", ["images/{}", "{}/images"])
def test_without_a_data_yaml_folders_tell_the_splits(tmp_path, folder):
    for split in ("train", "valid", "test"):
        pair(tmp_path, folder.format(split), split)
    text(tmp_path / "classes.txt", "cat\ndog\n")
    data = open_data(tmp_path)
    assert ids(data) == {"train": ["train"], "val": ["valid"], "test": ["test"]}
    assert data.dataset.class_names == ("cat", "dog")
    assert data.findings == []


@pytest.mark.parametrize("folder", ["images", "."])
def test_pictures_of_one_folder_are_split_by_chance(tmp_path, folder):
    for name in "abcdefg":
        pair(tmp_path, folder, name)
    text(tmp_path / "obj.names", "cat\n")
    data = open_data(tmp_path)
    assert {split: len(part) for split, part in ids(data).items()} == {"train": 5, "val": 1, "test": 1}
    assert data.dataset.drawn


def test_lists_beside_the_pictures_tell_the_splits_as_darknet_has_it(tmp_path):
    for name in "ab":
        pair(tmp_path, "obj_train_data", name)
    text(tmp_path / "obj.names", "cat\n")
    text(tmp_path / "train.txt", "data/obj_train_data/a.jpg\n")
    text(tmp_path / "valid.txt", "data/obj_train_data/b.jpg\n")
    data = open_data(tmp_path)
    assert ids(data) == {"train": ["a"], "val": ["b"]}
    assert {finding.kind for finding in data.findings} == {"wrong-path"}


def test_classes_without_names_are_called_by_their_numbers_with_a_warning(tmp_path):
    pair(tmp_path, "images", "a", "10 .5 .5 .5 .5\n2 .5 .5 .5 .5\n")
    data = open_data(tmp_path)
    assert data.dataset.class_names == ("2", "10")
    assert told(data.findings) == [("warning", "class-names", None, None)]


def test_words_that_yaml_reads_as_something_else_stay_names(tmp_path):
    sample, findings = one(tmp_path, "0 .5 .5 .5 .5\n2 .5 .5 .5 .5\n", "names: [no, 'yes', 1.0]\n")
    assert sample.names == ("no", "1.0")
    assert findings == []


def test_a_number_of_classes_that_disagrees_with_the_names_is_told(tmp_path):
    assert told(one(tmp_path, BOX, f"nc: 3\n{NAMES}")[1]) == [("warning", "class-names", None, None)]


def test_two_classes_of_one_name_are_read_as_one(tmp_path):
    sample, findings = one(tmp_path, "0 .5 .5 .5 .5\n1 .5 .5 .5 .6\n", "names: [cat, cat]\n")
    assert sample.names == ("cat", "cat")
    assert told(findings) == [("warning", "duplicate-id", None, None)]


def test_a_picture_without_labels_has_no_objects_and_is_kept(tmp_path):
    pair(tmp_path, "images", "a")
    picture(tmp_path / "images" / "b.jpg")
    pair(tmp_path, "images", "c", "\n")
    data = read_yolo(text(tmp_path / "data.yaml", f"train: images\n{NAMES}"))
    assert ids(data) == {"train": ["a", "b", "c"]}
    assert [len(sample.names) for sample in every_sample(data.dataset)] == [1, 0, 0]
    assert data.findings == []


def test_a_split_without_any_labels_is_told(tmp_path):
    pair(tmp_path, "images/train", "a")
    picture(tmp_path / "images" / "val" / "b.jpg")
    data = read_yolo(text(tmp_path / "data.yaml", f"train: images/train\nval: images/val\n{NAMES}"))
    assert told(data.findings) == [("warning", "missing-annotation", None, None)]
    assert "of val" in data.findings[0].detail


def test_labels_without_a_picture_are_an_error(tmp_path):
    pair(tmp_path, "images", "a")
    text(tmp_path / "labels" / "b.txt", BOX)
    text(tmp_path / "labels" / "classes.txt", "cat\n")
    text(tmp_path / "labels" / "notes.txt", "ask Ann\n")
    data = read_yolo(text(tmp_path / "data.yaml", f"train: images\n{NAMES}"))
    assert told(data.findings) == [("error", "missing-picture", None, None)]
    assert data.findings[0].file == str(tmp_path / "labels" / "b.txt")


def test_two_pictures_of_one_file_of_labels_are_an_error_and_the_first_is_kept(tmp_path):
    pair(tmp_path, "images", "a")
    picture(tmp_path / "images" / "a.png")
    data = read_yolo(text(tmp_path / "data.yaml", f"train: images\n{NAMES}"))
    assert [sample.picture.name for sample in every_sample(data.dataset)] == ["a.jpg"]
    assert told(data.findings) == [("error", "duplicate-id", None, None)]


def test_an_outline_becomes_the_box_around_it(tmp_path):
    sample, findings = one(tmp_path, "1 0.25 0.4 0.75 0.4 0.5 0.6\n")
    assert sample.boxes.tolist() == [[10, 12, 30, 18]]
    assert sample.names == ("dog",)
    assert findings == []


def test_a_confidence_is_passed_over_and_told_once_a_file(tmp_path):
    sample, findings = one(tmp_path, f"{BOX.strip()} 0.9\n{BOX.strip()} 0.8\n1 .2 .2 .1 .1\n")
    assert sample.names == ("cat", "cat", "dog")
    assert ("warning", "extra-column", None, None) in told(findings)
    assert "2 of 3" in next(finding.detail for finding in findings if finding.kind == "extra-column")


@pytest.mark.parametrize(
    ("line", "kind", "name"),
    [
        ("2 .5 .5 .5 .5", "unknown-category", None),
        ("-1 .5 .5 .5 .5", "unknown-category", None),
        ("0.5 .5 .5 .5 .5", "unknown-category", None),
        ("nan .5 .5 .5 .5", "unknown-category", None),
        ("cat .5 .5 .5 .5", "unknown-category", None),
        ("1 .5 .5 .5 nan", "not-a-number", "dog"),
        ("1 .5 .5 .5 inf", "not-a-number", "dog"),
        ("1 .5 .5 .5 x", "not-a-number", "dog"),
        ("1 .1 .1 .2 .2 x .3", "not-a-number", "dog"),
        ("1 .5 .5 0 .5", "no-area", "dog"),
        ("1 .1 .1 .2 .1 .3 .1", "no-area", "dog"),
        ("1 1.5 .5 .2 .2", "outside", "dog"),
        ("1 20 15 10 10", "outside", "dog"),
        ("1 .5 .5 .5", "broken-entry", "dog"),
        ("1 .5 .5 .5 .5 .5 .5 .5", "broken-entry", "dog"),
    ],
)
def test_a_defective_line_is_named_by_its_number_and_left_out(tmp_path, line, kind, name):
    sample, findings = one(tmp_path, f"{BOX}\n{line}\n1 .5 .5 .1 .1\n")
    assert sample.names == ("cat", "dog")
    assert told(findings) == [("error", kind, 3, name)]
    assert findings[0].file == str(tmp_path / "labels" / "a.txt")


def test_a_box_of_negative_height_is_an_error_and_left_out(tmp_path):
    sample, findings = one(tmp_path, "1 .5 .5 .5 -.5\n")
    assert sample.names == ()
    assert [(finding.level, finding.object, finding.class_name) for finding in findings] == [("error", 1, "dog")]


def test_pixels_for_parts_are_named_as_the_likely_cause(tmp_path):
    assert "pixels?" in one(tmp_path, "1 20 15 10 10\n")[1][0].detail


def test_a_box_over_the_edge_is_cut_with_a_warning_and_a_rounded_one_in_silence(tmp_path):
    sample, findings = one(tmp_path, "0 .75 .5 .6 .2\n1 .8 .5 .41 .2\n")
    assert sample.boxes[:, 2].tolist() == [40, 40]
    assert told(findings) == [("warning", "outside", 1, "cat")]


def test_a_file_of_labels_that_is_no_text_gives_findings(tmp_path):
    pair(tmp_path, "images", "a")
    (tmp_path / "labels" / "a.txt").write_bytes(b"\xff\xfe\x00\x01 \x80\n")
    data = read_yolo(text(tmp_path / "data.yaml", f"train: images\n{NAMES}"))
    assert told(data.findings) == [("error", "unknown-category", 1, None)]


def test_parts_are_of_the_picture_as_it_is_shown(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pair(tmp_path, "images", "a")
    picture(tmp_path / "images" / "a.jpg", 40, 30, exif=exif)
    data = read_yolo(text(tmp_path / "data.yaml", f"train: images\n{NAMES}"))
    assert every_sample(data.dataset)[0].boxes.tolist() == [[7.5, 16, 22.5, 24]]


def test_a_labelled_picture_that_cannot_be_read_is_an_error(tmp_path):
    pair(tmp_path, "images", "a")
    pair(tmp_path, "images", "b")
    (tmp_path / "images" / "b.jpg").write_text("hello")
    data = read_yolo(text(tmp_path / "data.yaml", f"train: images\n{NAMES}"))
    assert ids(data) == {"train": ["a"]}
    assert [(finding.level, Path(finding.file).name) for finding in data.findings] == [("error", "b.jpg")]


def test_upper_case_suffixes_dots_and_spaces_are_no_hindrance(tmp_path):
    for name in ("v1.2 final.JPG", "B.JPEG"):
        picture(tmp_path / "Images" / name)
    text(tmp_path / "Labels" / "v1.2 final.txt", BOX)
    text(tmp_path / "Labels" / "b.TXT", BOX)
    data = open_data(tmp_path)
    assert sorted(sample.id for sample in every_sample(data.dataset)) == ["B", "v1.2 final"]
    assert all(sample.names == ("0",) for sample in every_sample(data.dataset))


def test_pictures_of_one_name_in_two_splits_have_two_ids(tmp_path):
    pair(tmp_path, "images/train", "a")
    pair(tmp_path, "images/val", "a")
    data = open_data(tmp_path)
    assert ids(data) == {"train": ["images/train/a"], "val": ["images/val/a"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("train: [", "cannot be read as YAML"),
        ("- train", "not a data.yaml"),
        (NAMES, "names no split"),
        (f"train: nowhere\n{NAMES}", "there is no nowhere"),
        ("train: images\nnames: cat\n", "give a list of classes"),
        ("train: images\nnames: {cat: 0}\n", "'cat' is not the number"),
        ("train: images\nnames: [[cat]]\n", "is not the number of one name"),
        ("train: images\nnc: 999999999\n", "list their names"),
    ],
)
def test_a_data_yaml_that_cannot_be_used_is_refused_in_one_line(tmp_path, content, message):
    pair(tmp_path, "images", "a")
    with pytest.raises(DataError, match=message) as caught:
        read_yolo(text(tmp_path / "data.yaml", content))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "data.yaml"))


def test_a_folder_without_pictures_or_without_labels_is_refused(tmp_path):
    text(tmp_path / "none" / "labels" / "a.txt", BOX)
    with pytest.raises(DataError, match="no picture in it"):
        read_yolo(tmp_path / "none")
    picture(tmp_path / "bare" / "images" / "a.jpg")
    with pytest.raises(DataError, match="has a file of labels"):
        read_yolo(tmp_path / "bare")


def test_of_several_descriptions_one_must_be_given(tmp_path):
    pair(tmp_path, "images", "a")
    for name in ("a.yaml", "b.yaml"):
        text(tmp_path / name, f"train: images\n{NAMES}")
    with pytest.raises(DataError, match="give one of them"):
        read_yolo(tmp_path)
    assert read_yolo(text(tmp_path / "data.yaml", f"train: images\n{NAMES}")).findings == []
    assert len(every_sample(read_yolo(tmp_path).dataset)) == 1
