"""`rcnn convert-data`: pictures, splits, predictions for truth, and folders that must stay as they are."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from odd_data import listing, picture, sound, truth

from rcnn import api
from rcnn.cli import main
from rcnn.data import every_sample, open_data, read_picture
from rcnn.data.writing import write_data
from rcnn.errors import ConfigError, DataError
from rcnn.sample import DataSet, Sample


def small(root: Path) -> Path:
    """A data set in CSV form: train and val, a cat in each."""
    for split in ("train", "val"):
        picture(root / f"{split}.png", 40, 30)
        (root / f"{split}.csv").write_text(f"file,x1,y1,x2,y2,class\n{split}.png,1,2,11,22,cat\n")
    return root


def predictions(file: Path, *rows: dict) -> Path:
    file.write_text(json.dumps([{"bbox": [5, 6, 10, 12], "score": 0.9, **row} for row in rows]))
    return file


def test_pictures_in_memory_become_files(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    data = DataSet({"train": [Sample("a", pixels), Sample("b", lambda: pixels)]}, ("cat",))
    read = sound(api.convert_data(data, "voc", tmp_path / "out").out)
    assert all(np.array_equal(read_picture(s.picture), pixels) for s in every_sample(read))


def test_pictures_may_be_linked_or_left_where_they_are(tmp_path):
    data = small(tmp_path / "data")
    linked = api.convert_data(data, "yolo", tmp_path / "linked", pictures="link").out
    assert os.path.samefile(linked / "images" / "train" / "train.png", data / "train.png")
    bare = api.convert_data(data, "yolo", tmp_path / "bare", pictures="none").out
    assert listing(bare) == ["data.yaml", "labels/train/train.txt", "labels/val/val.txt", "rcnn-data.json"]


def test_where_hard_links_cannot_be_made_symbolic_ones_are(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refuse)
    out = api.convert_data(small(tmp_path / "data"), "csv", tmp_path / "out", pictures="link").out
    assert (out / "images" / "train.png").is_symlink()
    assert len(every_sample(sound(out))) == 2


def test_splits_can_be_chosen(tmp_path):
    data = small(tmp_path / "data")
    assert list(sound(api.convert_data(data, "voc", tmp_path / "a", splits=["val"]).out).splits) == ["val"]
    assert list(sound(api.convert_data(data, "coco", tmp_path / "b", splits=["trainval"]).out).splits) == ["trainval"]
    with pytest.raises(DataError, match="did you mean 'val'"):
        api.convert_data(data, "voc", tmp_path / "c", splits=["valid"])


def test_splits_drawn_by_chance_are_fixed_and_said(tmp_path):
    for name in "abcde":
        picture(tmp_path / "data" / f"{name}.png", 20, 20)
    (tmp_path / "data" / "x.csv").write_text("".join(f"{name}.png,1,2,11,12,cat\n" for name in "abcde"))
    written = api.convert_data(tmp_path / "data", "coco", tmp_path / "out")
    assert any("drawn" in note for note in written.notes)
    before, after = open_data(tmp_path / "data").dataset, sound(written.out)
    assert truth(before, ()) == truth(after, ())
    assert not after.drawn


def test_a_split_that_would_be_read_under_another_name_is_said(tmp_path):
    file = picture(tmp_path / "a.jpg", 40, 30)
    data = DataSet({"night": [Sample("a", file)], "day": []}, ("cat",))
    (empty, other) = write_data(data, "coco", tmp_path / "out").notes
    assert empty == "left out: day (no pictures)"
    assert other.startswith("split night is read back as one without splits")


def test_an_existing_folder_is_kept_unless_it_is_ours_and_may_go(tmp_path):
    data, out = small(tmp_path / "data"), tmp_path / "out"
    api.convert_data(data, "csv", out)
    with pytest.raises(ConfigError, match="exists; give --out another name, or pass --overwrite"):
        api.convert_data(data, "voc", out)
    api.convert_data(data, "voc", out, overwrite=True)
    assert not (out / "train.csv").exists()
    assert len(every_sample(sound(out))) == 2
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.txt").write_text("dear diary")
    with pytest.raises(ConfigError, match="not written by this command"):
        api.convert_data(data, "voc", tmp_path / "photos", overwrite=True)
    assert listing(tmp_path / "photos") == ["mine.txt"]


def test_neither_the_data_may_lie_in_the_folder_nor_the_folder_in_the_data(tmp_path):
    data = small(tmp_path / "all" / "data")
    for out, message in ((data / "out", "lies in the data"), (tmp_path / "all", "exists"), (data, "exists")):
        with pytest.raises(ConfigError, match=message):
            api.convert_data(data, "voc", out)
    ours = api.convert_data(data, "csv", tmp_path / "ours").out
    with pytest.raises(ConfigError, match="lies in the data"):
        api.convert_data(ours, "voc", ours, overwrite=True)
    with pytest.raises(ConfigError, match="holds the data itself"):
        api.convert_data(ours / "train.csv", "voc", ours, overwrite=True)


def test_what_fails_half_way_leaves_what_was_there(tmp_path, monkeypatch):
    data, out = small(tmp_path / "data"), tmp_path / "out"
    api.convert_data(data, "csv", out)
    before = listing(out)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("rcnn.data.writing.pictures.shutil.copyfile", fail)
    with pytest.raises(OSError, match="disk full"):
        api.convert_data(data, "voc", out, overwrite=True)
    assert listing(out) == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["data", "out"]


def test_defects_stop_the_conversion_unless_they_may_be_dropped(tmp_path):
    data = small(tmp_path / "data")
    with (data / "train.csv").open("a") as stream:
        stream.write("train.png,5,5,5,9,cat\n")
    with pytest.raises(DataError, match=r"object 3 \(cat\): box \(5, 5, 5, 9\) has no area"):
        api.convert_data(data, "voc", tmp_path / "out")
    assert api.convert_data(data, "voc", tmp_path / "out", bad_boxes="drop").objects == 2


def test_classes_and_pictures_that_cannot_be_written_are_refused(tmp_path):
    file = picture(tmp_path / "a.jpg", 8, 8)
    with pytest.raises(DataError, match="class dog is not among"):
        write_data(
            DataSet({"train": [Sample("a", file, np.array([[0, 0, 4, 4]], np.float32), ("dog",))]}, ("cat",)),
            "voc",
            tmp_path / "x",
        )
    file.rename(tmp_path / "a")
    with pytest.raises(DataError, match=r"is no suffix by which readers know a picture .*; rename it"):
        write_data(DataSet({"train": [Sample("a", tmp_path / "a")]}, ("cat",)), "voc", tmp_path / "x")
    with pytest.raises(ConfigError, match=r"'yollo': not known \(did you mean yolo\?\); give coco, voc, yolo, csv"):
        api.convert_data(tmp_path, "yollo", tmp_path / "x")


def test_predictions_take_the_place_of_the_truth(tmp_path):
    data = small(tmp_path / "data")
    found = predictions(
        tmp_path / "found.json",
        {"image_id": 1, "file_name": "/elsewhere/train.png", "category_id": 1, "category_name": "cat"},
        {"image_id": 1, "file_name": "/elsewhere/train.png", "category_id": 9, "category_name": "dog", "score": 0.6},
        {"image_id": 1, "file_name": "/elsewhere/train.png", "category_name": "cat", "bbox": [30, 20, 50, 50]},
        {"image_id": 1, "file_name": "/elsewhere/train.png", "category_name": "cat", "score": 0.4},
        {"image_id": 2, "file_name": "/elsewhere/other.png", "category_name": "cat"},
    )
    written = api.convert_data(data, "yolo", tmp_path / "out", predictions=found)
    read = sound(written.out)
    assert read.class_names == ("cat", "dog")
    (sample,) = read.splits["train"]
    assert dict(zip(sample.names, sample.boxes.tolist(), strict=False))["dog"] == [5, 6, 15, 18]
    assert [30, 20, 40, 30] in sample.boxes.tolist()
    assert len(sample.names) == 3
    assert read.splits["val"][0].names == ()
    assert [note.partition(";")[0] for note in written.notes] == [
        "1 of 5 predictions score under 0.5",
        "1 of them are of other pictures",
        "no prediction in 1 of 2 pictures",
    ]


def test_predictions_seed_the_labels_of_pictures_that_have_none(tmp_path):
    for name in "abc":
        picture(tmp_path / "photos" / f"{name}.jpg", 40, 30)
    rows = [{"file_name": f"photos/{name}.jpg", "category_id": 7, "category_name": "cat"} for name in "abc"]
    found = predictions(tmp_path / "found.json", *rows)
    read = sound(api.convert_data(tmp_path / "photos", "coco", tmp_path / "out", predictions=found).out)
    assert {s.id: s.names for s in every_sample(read)} == {f"{name}.jpg": ("cat",) for name in "abc"}
    assert read.category_ids == {"cat": 7}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("{}", "not COCO's results, a list"),
        ("[7]", "entry 1: is no object"),
        ('[{"image_id": 1, "category_id": 5, "bbox": [1, 2, 3, 4], "score": 0.9}]', "the data does not number classes"),
        ('[{"file_name": "x.png", "category_name": "cat", "bbox": [1, 2, 3, 4], "score": 0.9}]', "nor is any other"),
    ],
)
def test_predictions_of_another_kind_are_refused_in_one_line(tmp_path, content, message):
    (tmp_path / "found.json").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        api.convert_data(small(tmp_path / "data"), "voc", tmp_path / "out", predictions=tmp_path / "found.json")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_command_tells_what_it_wrote_and_what_was_lost(tmp_path, capsys, quiet_log):
    data = small(tmp_path / "data")
    (data / "val.csv").write_text("file,x1,y1,x2,y2,class,crowd\nval.png,1,2,11,22,cat,1\n")
    assert main(["convert-data", str(data), "--to", "yolo", "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 'out'}: YOLO, 2 pictures (train 1, val 1), 2 objects of 1 class",
        "note: YOLO cannot hold that a box covers a crowd: lost on 1 of 2 objects",
    ]
    assert main(["convert-data", str(data), "--to", "voc", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(f"rcnn: {tmp_path / 'out'}: exists")
    assert main(["convert-data", str(data), "--to", "yollo", "--out", str(tmp_path / "x")]) == 2
    assert "choose voc, coco, yolo, csv" in capsys.readouterr().err
