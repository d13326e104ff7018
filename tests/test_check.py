"""`rcnn check`: every planted defect is found by name, and nothing else is called one."""

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from planted import Voc, obj, planted_coco, planted_voc, scene

from rcnn.api.checking import check
from rcnn.api.checking.kinds import MEANING
from rcnn.cli import main
from rcnn.data import Finding
from rcnn.data.checking.classes import slips
from rcnn.data.checking.leaks import parted
from rcnn.data.checking.near import MOST_BITS, MOST_LOW_BITS, fingerprint, groups, near_pairs
from rcnn.data.defects import Kind
from rcnn.errors import DataError
from rcnn.sample import DataSet, Sample

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.usefixtures("quiet_log")


def told(findings: list[Finding]) -> set[tuple]:
    return {(found.level, found.kind, Path(found.file).name, found.object) for found in findings}


@pytest.fixture(scope="module")
def voc_plants(tmp_path_factory) -> Voc:
    return planted_voc(tmp_path_factory.mktemp("planted") / "voc")


@pytest.fixture(scope="module")
def checked(voc_plants):
    return check(voc_plants.root, config="demo")


def test_every_defect_planted_in_voc_data_is_found_with_file_and_object_and_nothing_else(voc_plants, checked):
    assert told(checked.findings) == voc_plants.expected
    assert len(checked.findings) == len(voc_plants.expected)


def test_every_defect_planted_in_coco_data_is_found_with_file_and_object_and_nothing_else(tmp_path):
    expected = planted_coco(tmp_path)
    assert told(check(tmp_path, config="demo").findings) == expected


@pytest.mark.parametrize(
    ("file", "text", "dog"),
    [
        ("labels/train/a.txt", "9 .5 .5 .2 .2\n\n0 .5 .5 .2 .2\n1 .3 .3 .2 .2\n", 4),
        ("train.csv", "file,x1,y1,x2,y2,class\na.jpg,5,5,5,9,cat\na.jpg,1,1,9,9,cat\na.jpg,2,2,8,9,dog\n", 4),
    ],
)
def test_a_class_of_yolo_and_csv_data_is_found_by_the_line_that_has_it(tmp_path, file, text, dog):
    """The line is that of the file, not the object's place among the sound ones."""
    for split in ("train", "val"):
        target = tmp_path / file.replace("train", split)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text if split == "train" else text.replace("1 .3 .3 .2 .2\n", "").replace("dog", "cat"))
        picture = tmp_path / "images" / split / "a.jpg"
        picture.parent.mkdir(parents=True)
        scene(split).save(picture)
    if file.startswith("labels"):
        (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat, dog]\n")
    (found,) = [one for one in check(tmp_path, config="demo").findings if one.kind == "class-in-one-split"]
    assert (found.file, found.object, found.class_name) == (str(tmp_path / file), dog, "dog")


def test_a_picture_that_two_splits_annotate_differently_is_a_leak_and_its_classes_are_told(tmp_path):
    scene("a").save(tmp_path / "a.jpg")
    (tmp_path / "train.csv").write_text("file,x1,y1,x2,y2,class\na.jpg,1,1,9,9,cat\na.jpg,2,2,9,9,dog\n")
    (tmp_path / "val.csv").write_text("file,x1,y1,x2,y2,class\na.jpg,1,1,9,9,cat\n")
    found = check(tmp_path, config="demo").findings
    assert [(one.kind, one.class_name) for one in found] == [("in-two-splits", None), ("class-in-one-split", "dog")]
    assert "all 1 of them are in train" in found[1].detail


def test_predictions_that_lie_beside_the_truth_are_no_part_of_the_data(tmp_path):
    scene("a").save(tmp_path / "a.jpg")
    box = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}
    truth = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [box],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps([box | {"score": 0.5}]))
    checked = check(tmp_path, config="demo")
    assert (checked.findings, checked.summary.drawn) == ([], True)


def test_findings_stand_errors_first_and_those_of_a_kind_together(checked):
    order = [(found.level, found.kind) for found in checked.findings]
    assert order == sorted(order, key=lambda key: (key[0] != "error", order.index(key)))


def test_a_finding_tells_class_and_picture(checked):
    found = next(found for found in checked.findings if found.kind == "inverted")
    assert (found.class_name, found.picture) == ("dog", "box-inverted")
    assert str(found).endswith(
        "box-inverted.xml: object 2 (dog): box (30, 5, 10, 20) has its corners in the wrong order"
    )


def test_nothing_outside_the_folder_is_ever_opened(tmp_path, monkeypatch):
    secret = tmp_path / "secret.jpg"
    scene("secret").save(secret)
    root = tmp_path / "data"
    planted_coco(root)
    content = json.loads((root / "annotations" / "instances_train.json").read_text())
    content["images"] = [{"id": n, "file_name": name} for n, name in enumerate(("../../secret.jpg", str(secret)))]
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    opened = []
    monkeypatch.setattr(Image, "open", lambda path, **options: opened.append(path))
    findings = check(root, config="demo").findings
    assert [found.detail.split()[1] for found in findings if found.kind == "outside-folder"] == [
        "../../secret.jpg",
        str(secret),
    ]
    assert opened == []


def test_a_split_may_be_looked_at_alone(voc_plants):
    part = check(voc_plants.root, split="val", config="demo")
    assert list(part.summary.splits) == ["val"]
    assert part.summary.whole.pictures == 9
    assert "box-inverted.xml" not in {Path(found.file).name for found in part.findings}
    with pytest.raises(DataError, match="did you mean 'val'"):
        check(voc_plants.root, split="vla", config="demo")


def test_the_command_prints_writes_and_exits_by_the_findings(voc_plants, tmp_path, capsys):
    file = tmp_path / "sub" / "check.json"
    assert main(["check", str(voc_plants.root), "--preset", "demo", "--json", str(file)]) == 1
    printed = capsys.readouterr().out
    assert "inverted (1): a box whose corners" in printed
    assert 0 < printed.index(" errors:") < printed.index(" warnings:") < printed.index("pictures  ")
    schema = json.loads((ROOT / "docs" / "schemas" / "check.json").read_text("utf-8"))
    assert_like_schema(json.loads(file.read_text("utf-8")), schema)


def test_warnings_alone_exit_with_0_unless_strict(tmp_path, capsys):
    data = Voc(tmp_path / "data")
    data.add("a", obj(), obj())
    data.add("b", obj(), split="val")
    data.close()
    assert main(["check", str(data.root), "--preset", "demo"]) == 0
    assert main(["check", str(data.root), "--preset", "demo", "--strict"]) == 1
    assert "duplicate-box (1)" in capsys.readouterr().out


def test_of_a_kind_few_findings_are_printed_unless_all_are_asked_for(tmp_path, capsys):
    data = Voc(tmp_path / "data")
    for number in range(7):
        data.add(f"p{number}", obj((5, 5, 5, 9)))
    data.close()
    main(["check", str(data.root), "--preset", "demo"])
    printed = capsys.readouterr().out
    assert printed.count("has no area") == 5
    assert "... and 2 more; --all prints them" in printed
    main(["check", str(data.root), "--preset", "demo", "--all"])
    assert capsys.readouterr().out.count("has no area") == 7


def test_scale_and_anchors_are_those_of_a_run_of_a_preset_or_of_a_size(voc, run, tmp_path):
    file = tmp_path / "check.json"

    def looked_at(*words):
        assert main(["check", str(voc), *words, "--json", str(file)]) == 0
        told = json.loads(file.read_text("utf-8"))
        return told["summary"]["input"], told["anchors"] and told["anchors"]["anchor_sizes"]

    assert looked_at("--run", str(run)) == ({"short": 64, "long": 96}, [[12], [20], [32], [48], [64]])
    demo = [[16], [32], [48], [96], [160]]
    assert looked_at("--preset", "demo") == ({"short": 160, "long": 208}, demo)
    assert looked_at("--preset", "demo", "--size", "120") == ({"short": 120, "long": 200}, demo)
    assert looked_at("--preset", "fast-rcnn-mobilenet-fpn")[1] is None


def test_wrong_options_are_told_in_one_line(voc_plants, tmp_path, capsys):
    assert main(["check", str(tmp_path / "none")]) == 2
    assert main(["check", str(voc_plants.root), "--preset", "demo", "--run", str(tmp_path)]) == 2
    assert main(["check", str(voc_plants.root), "--fix", str(tmp_path / "o"), "--split", "val"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_data_of_which_nothing_can_be_read_is_reported_too(tmp_path, capsys):
    data = Voc(tmp_path / "data")
    data.add("a", obj()).write_text("junk")
    data.close()
    assert main(["check", str(data.root), "--preset", "demo"]) == 1
    assert "not-a-picture (1)" in capsys.readouterr().out


def test_samples_of_ones_own_are_checked_too():
    pixels = np.asarray(scene("own"))
    bad = Sample("b", np.asarray(scene("b")), np.array([[5, 5, 5, 9.0], [1, 1, 9, 9]]), ("dog", "dog"))
    found = check(DataSet({"train": [Sample("a", pixels), bad], "val": [Sample("c", pixels)]}, ("dog",)), config="demo")
    assert {(f.kind, f.file, f.object) for f in found.findings} == {
        ("no-area", "b", 1), ("in-two-splits", "c", None), ("class-in-one-split", "b", 2)
    }  # fmt: skip


def test_every_kind_has_a_meaning_and_a_line_in_the_documentation():
    page = (ROOT / "docs" / "check.md").read_text("utf-8")
    assert set(get_args(Kind)) == set(MEANING)
    assert [kind for kind in get_args(Kind) if f"`{kind}`" not in page] == []


def assert_like_schema(value: object, schema: dict, root: dict | None = None) -> None:
    """Holds a value against the part of JSON Schema that docs/schemas/check.json uses."""
    root = root or schema
    schema = root["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    allowed = schema.get("type", [])
    allowed = [allowed] if isinstance(allowed, str) else allowed
    assert not allowed or any(value is None if kind == "null" else isinstance(value, kinds[kind]) for kind in allowed)
    assert value in schema.get("enum", [value])
    if isinstance(value, dict):
        assert set(schema.get("required", [])) <= set(value), f"lacks {set(schema.get('required', [])) - set(value)}"
        own, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        assert others is not False or set(value) <= set(own), f"knows nothing of {set(value) - set(own)}"
        for key, item in value.items():
            assert_like_schema(item, own.get(key, others if isinstance(others, dict) else {}), root)
    for item in value if isinstance(value, list) else ():
        assert_like_schema(item, schema.get("items", {}), root)


@pytest.mark.parametrize(
    ("count", "found"),
    [
        ({"raccoon": 100, "racoon": 2}, [("racoon", "raccoon")]),
        ({"Dog": 40, "dog": 50}, [("Dog", "dog")]),
        ({"traffic light": 9, "traffic_light": 4}, [("traffic_light", "traffic light")]),
        ({"person": 90, "persons": 30}, [("persons", "person")]),
        ({"butterfly": 5, "butterflies": 4}, [("butterflies", "butterfly")]),
        ({"helicopter": 100, "helicpotre": 1}, [("helicpotre", "helicopter")]),
        ({"RBC": 4000, "WBC": 3}, []),
        ({"coat": 200, "goat": 1}, []),
        ({"speed limit 30": 100, "speed limit 50": 1}, []),
        ({"raccoon": 100, "racoon": 60}, []),
        ({"glass": 50, "class": 1}, [("class", "glass")]),
        ({"male": 100, "female": 1}, []),
    ],
)
def test_slips_are_told_from_names_that_are_but_alike(count, found):
    assert list(slips(count)) == found


def test_copies_are_near_and_other_pictures_are_not():
    def is_near(one, other):
        marks = {name: fingerprint(picture.convert("L")) for name, picture in (("a", one), ("b", other))}
        return near_pairs(["a"], ["b"], marks) == {("a", "b")}

    original = scene("a", 320, 240)
    assert is_near(original, original.resize((160, 120)))
    assert is_near(original, original.crop((3, 2, 317, 238)))
    assert is_near(original, original.point(lambda value: value * 0.8 + 20))
    assert not any(is_near(original, scene(str(number), 320, 240)) for number in range(30))


def test_a_picture_of_one_colour_is_near_to_none():
    assert fingerprint(Image.new("L", (64, 48), 90)) is None


def test_near_pairs_are_those_of_a_nested_loop():
    rng = np.random.default_rng(0)
    prints = {f"p{n}": rng.random(256) < 0.5 for n in range(30)}
    prints |= {f"q{n}": prints[f"p{n}"] ^ (rng.random(256) < 0.02 * n) for n in range(30)}
    ones, others = [f"p{n}" for n in range(30)], [f"q{n}" for n in range(30)]
    low = np.array([place // 16 < 8 and place % 16 < 8 for place in range(256)])

    def near(differing):
        return differing.sum() <= MOST_BITS or differing[low].sum() <= MOST_LOW_BITS

    expected = {(a, b) for a in ones for b in others if near(prints[a] != prints[b])}
    assert near_pairs(ones, others, prints) == expected
    assert 3 < len(expected) < 30


def test_groups_join_what_pairs_join():
    assert sorted(groups({("a", "b"), ("b", "c"), ("x", "y")})) == [["a", "b", "c"], ["x", "y"]]
    assert groups(set()) == []


def test_trainval_holds_train_and_val_and_nothing_holds_test():
    assert not parted("trainval", "train")
    assert not parted("val", "trainval")
    assert not parted("all", "test")
    assert parted("trainval", "test")
    assert parted("train", "val")


def test_a_check_remembers_nothing(tmp_path):
    data = Voc(tmp_path / "data")
    data.add("a", obj())
    picture = data.add("b", obj(), split="val")
    data.close()
    assert check(data.root, config="demo").findings == []
    good = picture.read_bytes()
    picture.write_bytes(good[:-100])
    assert [found.kind for found in check(data.root, config="demo").findings] == ["truncated-picture"]
    picture.write_bytes(good)
    assert check(data.root, config="demo").findings == []


DATA = ROOT.parent / "shared" / "data"
real = pytest.mark.skipif(not DATA.exists(), reason="the sample data sets are not on this machine")


@real
def test_bccd_has_two_boxes_without_area_and_two_pictures_that_look_the_same():
    checked = check(DATA / "bccd")
    assert [(found.kind, Path(found.file).stem, found.object) for found in checked.findings] == [
        ("no-area", "BloodImage_00338", 13),
        ("no-area", "BloodImage_00343", 4),
        ("near-duplicate", "BloodImage_00037", None),
    ]
    assert "BloodImage_00038 (train and trainval)" in checked.findings[2].detail
    assert checked.anchors.all.positive < 0.4
    assert checked.anchors.proposed.all.positive > 0.9


@real
def test_raccoon_has_pictures_twice_which_drawn_splits_keep_together():
    checked = check(DATA / "raccoon", config="demo")
    assert checked.summary.drawn
    assert [(found.kind, found.picture, found.detail.split(":")[1].strip()) for found in checked.findings] == [
        ("near-duplicate", "raccoon-52", "raccoon-74 (val), raccoon-50 (train)"),
        ("duplicate-picture", "raccoon-11", "raccoon-116 (train)"),
        ("duplicate-picture", "raccoon-52", "raccoon-74 (val)"),
        ("duplicate-picture", "raccoon-65", "raccoon-98 (val)"),
        ("duplicate-picture", "raccoon-120", "raccoon-83 (test)"),
    ]


@real
def test_coco_tiny_is_in_order_and_has_crowds_and_many_small_objects():
    checked = check(DATA / "coco_tiny")
    assert checked.findings == []
    assert checked.summary.whole.crowd == 17
    assert checked.summary.sizes["small"] > 400
    assert checked.anchors.sizes["small"].half < 0.4
