"""CSV data of every arrangement, and what is reported where it is defective."""

from pathlib import Path
from zlib import crc32

import pytest
from PIL import Image

from rcnn.data import every_sample, open_data
from rcnn.data.csv import read_csv
from rcnn.errors import DataError

HEADER = "file,x1,y1,x2,y2,class\n"


def picture(path: Path, width: int = 40, height: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), crc32(path.name.encode()) & 0xFFFFFF).save(path)
    return path


def table(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, "utf-8")
    return path


def one(root: Path, content: str):
    """The only sample of a table of one picture, and the findings."""
    picture(root / "a.jpg")
    data = read_csv(table(root / "boxes.csv", content))
    samples = every_sample(data.dataset)
    return (samples[0] if samples else None), data.findings


def told(findings) -> list[tuple]:
    return [(finding.level, finding.kind, finding.object, finding.class_name) for finding in findings]


def ids(data) -> dict[str, list[str]]:
    return {split: [sample.id for sample in samples] for split, samples in data.dataset.splits.items()}


@pytest.mark.parametrize(
    "content",
    [
        "file,x1,y1,x2,y2,class\na.jpg,1,2,11,22,cat\n",
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,40,30,cat,1,2,11,22\n",
        "Image Path;Label;Left;Top;Right;Bottom\na.jpg;cat;1;2;11;22\n",
        "image_id\tx_min\ty_min\tx_max\ty_max\tclass_name\na.jpg\t1\t2\t11\t22\tcat\n",
        "path,x,y,w,h,category\na.jpg,1,2,10,20,cat\n",
        "image,name,x,y,width,height\na.jpg,cat,1,2,10,20\n",
        "image,name,x,y,w,h,width,height\na.jpg,cat,1,2,10,20,40,30\n",
        "file,left,top,width,height,label\na.jpg,1,2,10,20,cat\n",
        "a.jpg,1,2,11,22,cat\n",
        "image_id,filename,name,class,x1,y1,x2,y2\n7,a.jpg,x,cat,1,2,11,22\n",
        'file, x1, y1, x2, y2, class\n"a.jpg", 1, 2, 11, 22, "cat"\n',
        "\ufefffile,x1,y1,x2,y2,class\r\na.jpg,1.0,2.0,11.0,22.0,cat\r\n\r\n",
        "#file,x1,y1,x2,y2,class,score\na.jpg,1,2,11,22,cat,0.5\n",
    ],
)
def test_columns_are_told_by_their_headers_or_by_their_place(tmp_path, content):
    sample, findings = one(tmp_path, content)
    assert findings == []
    assert (sample.id, sample.picture) == ("a", tmp_path / "a.jpg")
    assert sample.boxes.tolist() == [[1, 2, 11, 22]]
    assert sample.names == ("cat",)
    assert open_data(tmp_path).dataset.class_names == ("cat",)


def test_the_width_and_height_of_a_picture_are_not_those_of_a_box(tmp_path):
    picture(tmp_path / "a.jpg")
    data = read_csv(table(tmp_path / "a.csv", "file,width,height,x1,y1,x2,y2,class\na.jpg,40,30,1,2,11,22,cat\n"))
    assert data.sizes == {"a": (30, 40)}


@pytest.mark.parametrize("content", [f"{HEADER}a.jpg,,,,,\n", "a.jpg,,,,,\nb.jpg,1,2,11,22,cat\n", f"{HEADER}a.jpg\n"])
def test_a_row_without_a_box_is_a_picture_without_objects(tmp_path, content):
    picture(tmp_path / "a.jpg")
    picture(tmp_path / "b.jpg")
    data = read_csv(table(tmp_path / "boxes.csv", content))
    assert data.findings == []
    assert {sample.id: sample.names for sample in every_sample(data.dataset)}["a"] == ()


def test_flags_are_read_where_there_are_columns_of_them(tmp_path):
    rows = "a.jpg,1,2,11,22,cat,1,\na.jpg,1,2,12,22,cat,False,true\n"
    sample, _ = one(tmp_path, f"{HEADER.strip()},difficult,iscrowd\n{rows}")
    assert sample.difficult.tolist() == [True, False]
    assert sample.crowd.tolist() == [False, True]


def test_the_names_of_files_tell_the_splits(tmp_path):
    for split in ("train", "valid", "test"):
        picture(tmp_path / "images" / f"{split}.jpg")
        table(tmp_path / f"{split}.csv", f"{HEADER}images/{split}.jpg,1,2,11,22,cat\n")
    assert ids(open_data(tmp_path)) == {"train": ["train"], "val": ["valid"], "test": ["test"]}


def test_the_folders_of_files_tell_the_splits_and_hold_their_pictures(tmp_path):
    for split in ("train", "valid"):
        picture(tmp_path / split / f"{split}.jpg")
        table(tmp_path / split / "_annotations.csv", f"{HEADER}{split}.jpg,1,2,11,22,cat\n")
    data = open_data(tmp_path)
    assert ids(data) == {"train": ["train"], "val": ["valid"]}
    assert data.findings == []


def test_a_column_tells_the_splits(tmp_path):
    for name in "abc":
        picture(tmp_path / f"{name}.jpg")
    rows = "a.jpg,1,2,11,22,cat,train\nb.jpg,1,2,11,22,cat,validation\nc.jpg,1,2,11,22,cat,\n"
    data = open_data(table(tmp_path / "all.csv", f"{HEADER.strip()},split\n{rows}"))
    assert ids(data) == {"train": ["a"], "val": ["b"]}
    assert told(data.findings) == [("warning", "not-in-split", 4, None)]


def test_one_file_that_tells_no_split_is_split_by_chance(tmp_path):
    for number, name in enumerate("abcdefg"):
        picture(tmp_path / f"{name}.jpg", width=40 + number)  # pictures that are the same would stay together
    rows = "".join(f"{name}.jpg,1,2,11,22,cat\n" for name in "abcdefg")
    data = open_data(table(tmp_path / "boxes.csv", HEADER + rows))
    assert {split: len(part) for split, part in ids(data).items()} == {"train": 5, "val": 1, "test": 1}
    assert data.dataset.drawn


def test_classes_are_in_the_order_of_a_list_beside_the_tables(tmp_path):
    table(tmp_path / "classes.txt", "zebra\ncat\n")
    one(tmp_path, f"{HEADER}a.jpg,1,2,11,22,dog\na.jpg,1,2,12,22,cat\na.jpg,1,2,13,22,ant\n")
    assert open_data(tmp_path).dataset.class_names == ("zebra", "cat", "ant", "dog")


@pytest.mark.parametrize(
    ("row", "kind", "name"),
    [
        ("a.jpg,1,2,x,22,dog", "not-a-number", "dog"),
        ("a.jpg,1,2,nan,22,dog", "not-a-number", "dog"),
        ("a.jpg,1,2,1_1,22,dog", "not-a-number", "dog"),
        ("a.jpg,1,2,,22,dog", "not-a-number", "dog"),
        ('a.jpg,1,2,"11,5",22,dog', "not-a-number", "dog"),
        ("a.jpg,1,2,11", "no-name", None),
        ("a.jpg,1,2,11,22,", "no-name", None),
        ("a.jpg,11,2,11,22,dog", "no-area", "dog"),
        ("a.jpg,50,2,60,22,dog", "outside", "dog"),
        ("b.jpg,1,2,11,22,dog", "missing-picture", None),
        (",1,2,11,22,dog", "missing-picture", None),
        ("../a.jpg,1,2,11,22,dog", "outside-folder", None),
        ("sub/../../data/../a.jpg,1,2,11,22,dog", "outside-folder", None),
    ],
)
def test_a_defective_row_is_named_by_its_line_and_left_out(tmp_path, row, kind, name):
    picture(tmp_path / "a.jpg")
    sample, findings = one(tmp_path / "data", f"{HEADER}a.jpg,1,2,11,22,cat\n\n{row}\na.jpg,1,2,12,22,cat\n")
    assert sample.names == ("cat", "cat")
    assert told(findings) == [("error", kind, 4, name)]
    assert findings[0].file == str(tmp_path / "data" / "boxes.csv")


def test_an_absolute_path_outside_of_the_data_folder_is_not_read(tmp_path):
    picture(tmp_path / "secret.jpg")
    _, findings = one(tmp_path / "data", f"{HEADER}{tmp_path.as_posix()}/secret.jpg,1,2,11,22,dog\n")
    assert told(findings) == [("error", "outside-folder", 2, None)]


def test_paths_of_another_machine_are_found_by_their_ends_with_one_warning(tmp_path):
    picture(tmp_path / "images" / "b.jpg")
    rows = "/home/somebody/data/a.jpg,1,2,11,22,cat\nC:\\data\\images\\b.jpg,1,2,11,22,cat\n"
    _, findings = one(tmp_path, HEADER + rows)
    assert told(findings) == [("warning", "wrong-path", None, None)]


def test_a_box_over_the_edge_is_cut_with_a_warning(tmp_path):
    sample, findings = one(tmp_path, f"{HEADER}a.jpg,30,20,43,30,cat\n")
    assert sample.boxes.tolist() == [[30, 20, 40, 30]]
    assert told(findings) == [("warning", "outside", 2, "cat")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,class\na.jpg,cat\n", "name columns"),
        ("", "name columns"),
        ("a.jpg,1,2,3\n", "name columns"),
        (f"{HEADER}a.jpg,0.1,0.2,0.5,0.6,cat\n", "give them in pixels"),
        (f'{HEADER}"a.jpg,1,2\n', "cannot be read as CSV"),
    ],
)
def test_a_file_that_is_no_table_of_boxes_is_refused_in_one_line(tmp_path, content, message):
    picture(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=message) as caught:
        read_csv(table(tmp_path / "boxes.csv", content))
    assert str(caught.value).startswith(str(tmp_path / "boxes.csv"))
    assert "\n" not in str(caught.value)


def test_a_file_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_bytes(HEADER.encode("utf-16"))
    with pytest.raises(DataError, match="UTF-8"):
        read_csv(path)


def test_tables_of_other_things_are_passed_over(tmp_path):
    one(tmp_path, f"{HEADER}a.jpg,1,2,11,22,cat\n")
    table(tmp_path / "results.csv", "epoch,loss\n1,0.5\n")
    assert len(every_sample(open_data(tmp_path).dataset)) == 1


def test_a_picture_of_two_files_keeps_its_id_and_is_in_both_splits(tmp_path):
    picture(tmp_path / "a.jpg")
    for split in ("train", "val"):
        table(tmp_path / f"{split}.csv", f"{HEADER}a.jpg,1,2,11,22,cat\n")
    assert ids(open_data(tmp_path)) == {"train": ["a"], "val": ["a"]}


def test_a_misspelt_picture_is_answered_with_the_nearest(tmp_path):
    picture(tmp_path / "images" / "raccoon-10.jpg")
    _, findings = one(tmp_path, HEADER + "images/racoon-10.jpg,1,2,11,22,cat\na.jpg,1,2,11,22,cat\n")
    assert findings[0].kind == "missing-picture"
    assert findings[0].detail.endswith("; did you mean raccoon-10.jpg?")


def test_pictures_in_no_row_are_counted_for_a_folder_and_not_for_a_table_alone(tmp_path):
    for name in ("a", "b", "c"):
        picture(tmp_path / f"{name}.jpg")
    file = table(tmp_path / "boxes.csv", HEADER + "a.jpg,1,2,11,22,cat\n")
    (finding,) = read_csv(tmp_path).findings
    assert (finding.level, finding.kind) == ("warning", "missing-annotation")
    assert finding.detail.startswith("2 pictures are in no row")
    assert read_csv(file).findings == []
