"""What users of other libraries lost hours on, by its number in the list of their pains: data is checked in time."""

import json
import logging

import numpy as np
import pytest
import torch
from conftest import prepare, tiny_config
from PIL import Image
from planted import HEIGHT, WIDTH, Voc, obj, scene, size, turned

from rcnn.api import check, read_data
from rcnn.api.data_formats import convert_data
from rcnn.data import every_sample, open_data, read_picture
from rcnn.errors import DataError


def voc(root, *pictures) -> Voc:
    """A VOC folder of pictures, each a tuple of objects."""
    data = Voc(root)
    for number, objects in enumerate(pictures):
        data.add(f"p{number}", *objects, split=("train", "val")[number % 2])
    return data.close()


def coco(root, categories, annotations):
    scene("a").save(root / "a.jpg")
    images = [{"id": 1, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT}]
    rows = [{"id": n, "image_id": 1, "bbox": [5, 5, 20, 20 + n], "category_id": c} for n, c in enumerate(annotations)]
    file = root / "truth.json"
    file.write_text(json.dumps({"images": images, "categories": categories, "annotations": rows}))
    return file


def test_pain_4_class_numbers_off_by_one_are_named_before_the_first_step(tmp_path):
    file = coco(tmp_path, [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}], [0, 1, 2])
    with pytest.raises(DataError, match=r"object 3: .* category number 2 is not among the categories"):
        prepare(file, tmp_path / "run", tiny_config())


def test_pain_4_names_are_the_identity_of_classes_through_any_numbering(tmp_path):
    (tmp_path / "one").mkdir()
    file = coco(tmp_path / "one", [{"id": 0, "name": "cat"}, {"id": 90, "name": "dog"}], [0, 90])
    for step, to in enumerate(("voc", "yolo", "csv", "coco")):
        convert_data(file, to, tmp_path / f"step{step}")
        file = tmp_path / f"step{step}"
    (sample,) = every_sample(open_data(file).dataset)
    assert sorted(zip(sample.names, sample.boxes.tolist(), strict=True)) == [
        ("cat", [5, 5, 25, 25]),
        ("dog", [5, 5, 25, 26]),
    ]


def test_pain_5_a_box_that_would_make_the_loss_nan_is_named_with_file_object_and_reason(tmp_path):
    data = voc(tmp_path / "data", (obj(), obj((9, 9, 9, 20), "dog")), (obj(),))
    with pytest.raises(DataError) as caught:
        read_data(data.root)
    assert str(caught.value).splitlines()[1].endswith("p0.xml: object 2 (dog): box (9, 9, 9, 20) has no area")


def test_pain_5_such_boxes_are_dropped_or_fixed_if_asked_and_never_in_silence(tmp_path, caplog):
    data = voc(tmp_path / "data", (obj(), obj((30, 9, 10, 20), "dog")), (obj(),))
    with caplog.at_level(logging.WARNING):
        kept = read_data(data.root, "drop")
    assert [len(sample.names) for sample in every_sample(kept)] == [1, 1]
    assert any("p0.xml: object 2 (dog)" in record.getMessage() for record in caplog.records)


def test_pain_5_boxes_that_count_from_one_are_no_defect_at_the_edge(tmp_path):
    data = voc(tmp_path / "data", (obj((1, 1, WIDTH, HEIGHT)),), (obj(),))
    assert check(data.root, config="demo").findings == []
    assert open_data(data.root).dataset.splits["train"][0].boxes.tolist() == [[0, 0, WIDTH, HEIGHT]]


def test_pain_10_pictures_without_objects_are_counted_and_kept(tmp_path):
    data = voc(tmp_path / "data", (), (obj(),), (obj(),))
    checked = check(data.root, config="demo")
    assert checked.findings == []
    assert (checked.summary.whole.empty, checked.summary.splits["train"].empty) == (1, 1)
    prepared = prepare(data.root, tmp_path / "run", tiny_config())
    assert [len(sample.names) for sample in prepared.workshop.train] == [0, 1]


def test_pain_12_objects_too_small_for_any_anchor_are_told_before_training(tmp_path):
    data = voc(tmp_path / "data", (obj((20, 20, 22, 22), "screw"), obj((5, 5, 35, 35), "plate")), (obj(),))
    anchors = check(data.root, config="demo").anchors
    assert anchors.classes["screw"].half == 0
    assert anchors.classes["plate"].half == 1
    assert anchors.proposed.classes["screw"].mean_iou > anchors.classes["screw"].mean_iou


def test_pain_15_classes_are_taken_from_the_data_and_odd_ones_are_told(tmp_path):
    pictures = [(obj(name="ship"), obj((1, 1, 9, 9), "ship"))] * 12 + [(obj(name="Ship"),)] * 2
    checked = check(voc(tmp_path / "data", *pictures).root, config="demo")
    assert checked.opened.dataset.class_names == ("Ship", "ship")
    (found,) = [finding for finding in checked.findings if finding.kind == "class-typo"]
    assert (found.class_name, "24 of ship" in found.detail) == ("Ship", True)


def test_pain_15_paths_are_relative_to_the_data_wherever_one_stands(tmp_path, monkeypatch):
    coco(tmp_path, [{"id": 1, "name": "cat"}], [1])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert check("../truth.json", config="demo").findings == []


def test_pain_16_loose_annotations_are_read_and_each_repair_is_told(tmp_path):
    data = Voc(tmp_path / "data")
    data.add("a", obj((5.4, 5, 30, 90)), told=size(0, 0), filename="A.jpg")
    data.add("b", obj(), split="val")
    checked = check(data.close().root, config="demo")
    assert {(f.level, f.kind) for f in checked.findings} == {
        ("warning", "zero-size"),
        ("warning", "file-name"),
        ("warning", "outside"),
    }
    np.testing.assert_allclose(checked.opened.dataset.splits["train"][0].boxes, [[4.4, 4, 30, HEIGHT]], atol=1e-5)


def test_pain_23_a_turned_picture_is_seen_the_same_by_check_and_training(tmp_path):
    data = Voc(tmp_path / "data")
    path = data.add("a", obj((5, 5, 40, 60)), told=size(HEIGHT, WIDTH), exif=turned(6))
    data.add("b", obj(), split="val")
    checked = check(data.close().root, config="demo")
    assert checked.findings == []
    assert checked.looks["a"].size == read_picture(path).shape[:2] == (WIDTH, HEIGHT)


def test_pain_23_labels_drawn_before_the_turn_are_an_error_with_advice(tmp_path):
    data = Voc(tmp_path / "data")
    data.add("a", obj((5, 5, 60, 40)), exif=turned(6))
    data.add("b", obj(), split="val")
    with pytest.raises(DataError, match=r"EXIF turns the picture from 64x48 to 48x64, .* take the orientation out"):
        read_data(data.close().root)


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "I;16"])
def test_pain_24_gray_cmyk_palette_and_16_bit_pictures_are_in_order(tmp_path, mode):
    picture = scene("odd").convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    data = Voc(tmp_path / "data")
    data.add("a", obj(), picture=picture, suffix=".tif")
    data.add("b", obj(), split="val")
    assert check(data.close().root, config="demo").findings == []


def test_pain_30_what_changed_on_disk_is_seen_at_once(tmp_path):
    data = voc(tmp_path / "data", (obj(),), (obj(),))
    assert len(every_sample(read_data(data.root))[0].names) == 1
    annotation = data.root / "Annotations" / "p0.xml"
    annotation.write_text(annotation.read_text().replace("</annotation>", obj((1, 1, 9, 9)) + "</annotation>"))
    assert len(every_sample(read_data(data.root))[0].names) == 2


def test_training_tells_warnings_in_one_line_and_looks_for_no_near_duplicates(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("rcnn.data.checking.pictures.fingerprint", lambda glance: pytest.fail("not asked for"))
    data = voc(tmp_path / "data", (obj(), obj()), (obj(),), (obj(), obj()))
    data.lists["val"].append("p0")
    data.close()
    with caplog.at_level(logging.WARNING):
        read_data(data.root)
    assert [record.getMessage() for record in caplog.records] == [
        f"{data.root}: 3 warnings (duplicate-box 2, in-two-splits 1); "
        f"LEAK: a picture is in two splits, so that AP is too good; see rcnn check {data.root}"
    ]


def test_pain_leaks_between_splits_are_told_for_copies_under_other_names(tmp_path):
    """Gap 13: inflated AP is else found in production only."""
    data = Voc(tmp_path / "data")
    data.add("a", obj(), picture=scene("same"), quality=95)
    data.add("b", obj(), picture=scene("same").resize((128, 96)), told=size(128, 96), split="val", quality=50)
    (found,) = check(data.close().root, config="demo").findings
    assert (found.kind, found.picture, "a (train)" in found.detail) == ("near-duplicate", "b", True)


def test_recall_is_known_before_any_weights_are(tmp_path, monkeypatch):
    """Gap 7: the ceiling of an RPN, with no training and no numbers in the network."""
    data = voc(tmp_path / "data", (obj(),), (obj(),))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail("asked for weights"))
    anchors = check(data.root, config="faster-rcnn-mobilenet-fpn").anchors
    assert 0 <= anchors.all.positive <= anchors.all.half <= 1
