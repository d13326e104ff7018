"""`rcnn check --fix`: the copy has no errors, the list tells everything, the data stays as it was."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from planted import Voc, obj, planted_coco, planted_voc, scene, size, turned

from rcnn.api.checking import check
from rcnn.api.checking.fixing import fix
from rcnn.cli import main
from rcnn.data import every_sample, open_data, read_picture
from rcnn.errors import ConfigError, DataError
from rcnn.sample import DataSet, Sample

pytestmark = pytest.mark.usefixtures("quiet_log")


def content_of(root: Path) -> dict[str, str]:
    files = (file for file in sorted(root.rglob("*")) if file.is_file())
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def samples_of(root: Path) -> dict[str, Sample]:
    return {sample.id: sample for sample in every_sample(open_data(root).dataset)}


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    """Planted VOC data, the files it had before, and its repaired copy."""
    folder = tmp_path_factory.mktemp("fix")
    data = planted_voc(folder / "voc")
    before = content_of(data.root)
    fix(check(data.root, config="demo"), folder / "out")
    return data.root, before, folder / "out"


def test_the_copy_has_no_errors_and_the_data_is_not_touched(fixed):
    root, before, out = fixed
    assert check(out, config="demo").errors == []
    assert content_of(root) == before


def test_the_same_holds_for_coco_data(tmp_path):
    planted_coco(tmp_path / "coco")
    before = content_of(tmp_path / "coco")
    fix(check(tmp_path / "coco", config="demo"), tmp_path / "out")
    again = check(tmp_path / "out", config="demo")
    assert again.errors == []
    assert again.opened.dataset.category_ids == {"cat": 0, "dog": 1}
    boxes = next(sample for sample in every_sample(again.opened.dataset) if sample.id == "a.jpg").boxes.tolist()
    assert [20, 20, 40, 30] in boxes  # [40, 30, -20, -10] was inverted
    assert content_of(tmp_path / "coco") == before


def test_boxes_are_put_in_order_cut_and_left_out_as_they_need(fixed):
    samples = samples_of(fixed[2])
    whole = [4, 4, 30, 30]
    assert samples["box-inverted"].boxes.tolist() == [whole, [9, 4, 30, 20]]
    assert samples["box-over"].boxes.tolist() == [[39, 4, 64, 20]]
    assert samples["box-twice"].boxes.tolist() == [whole, [0, 0, 9, 9]]
    for name in ("no-area", "not-a-number", "outside"):
        assert samples[f"box-{name}"].boxes.tolist() == [whole]


def test_what_cannot_be_read_is_left_out_and_the_rest_stays(fixed):
    root, _, out = fixed
    kept = set(samples_of(root)) - {"pic-cut", "pic-text", "pic-broken"}
    assert set(samples_of(out)) == kept


def test_sizes_and_names_are_those_of_the_pictures(fixed):
    again = check(fixed[2], config="demo")
    kinds = {finding.kind for finding in again.findings}
    assert kinds.isdisjoint({"zero-size", "size", "file-name", "outside-folder", "exif-rotation", "duplicate-box"})
    assert kinds >= {"in-two-splits", "near-duplicate", "class-typo"}  # which only people can judge


def test_exif_turns_are_made_real_and_undone_where_boxes_fit_only_so(fixed):
    root, _, out = fixed
    before, after = samples_of(root), samples_of(out)
    for name in ("upright", "exif-stored"):
        with Image.open(after[name].picture) as image:
            assert image.getexif().get(0x0112, 1) == 1
    seen = read_picture(before["upright"].picture).astype(int)
    assert np.abs(read_picture(after["upright"].picture) - seen).mean() < 3
    with Image.open(before["exif-stored"].picture) as image:
        stored = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(read_picture(after["exif-stored"].picture) - stored).mean() < 3
    assert after["exif-stored"].boxes.tolist() == [[4, 4, 60, 40]]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_every_orientation_is_made_real(tmp_path, orientation):
    data = Voc(tmp_path / "data")
    sides = (64, 48) if orientation < 5 else (48, 64)
    path = data.add("a", obj((2, 2, 20, 20)), told=size(*sides), suffix=".png", exif=turned(orientation))
    data.close()
    fix(check(data.root, config="demo"), tmp_path / "out")
    copy = samples_of(tmp_path / "out")["a"].picture
    np.testing.assert_array_equal(read_picture(copy), read_picture(path))
    with Image.open(copy) as image:
        assert image.size == sides
        assert image.getexif().get(0x0112, 1) == 1


def test_every_finding_is_accounted_for_in_the_list(fixed):
    root, _, out = fixed
    told = json.loads((out / "repairs.json").read_text("utf-8"))
    rows = [row for part in ("mended", "left_out", "open") for row in told[part]]
    accounted = {(row["kind"], row["file"], row["object"]) for row in rows}
    assert {(f.kind, f.file, f.object) for f in check(root, config="demo").findings} <= accounted
    action = {row["kind"]: row["action"] for row in rows}
    assert action["inverted"] == "corners put in order"
    assert action["no-area"] == "object left out"
    assert action["truncated-picture"] == "left out"
    assert action["class-typo"] == "for you to judge"
    assert any(row["action"] == "turned" and row["picture"] == "upright" for row in told["mended"])


def test_the_command_tells_what_it_could_not_mend_and_exits_with_0(tmp_path, capsys):
    data = Voc(tmp_path / "data")
    data.add("a", obj(), obj((5, 5, 5, 9)), obj((30, 5, 10, 20)))
    data.close()
    out = tmp_path / "out"
    assert main(["check", str(data.root), "--preset", "demo", "--fix", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "1 mended, 1 left out because nothing can mend them, 0 warnings for you to judge" in printed
    assert "object left out: " in printed
    assert main(["check", str(out), "--preset", "demo"]) == 0
    assert main(["check", str(data.root), "--preset", "demo", "--fix", str(out)]) == 2
    assert "exists" in capsys.readouterr().err
    assert main(["check", str(data.root), "--preset", "demo", "--fix", str(out), "--overwrite"]) == 0


def test_a_copy_never_goes_into_the_data_itself(tmp_path):
    data = Voc(tmp_path / "data")
    data.add("a", obj())
    data.close()
    with pytest.raises(ConfigError, match="inside of the data itself"):
        fix(check(data.root, config="demo"), data.root / "fixed")


def test_data_of_which_nothing_is_left_is_not_written(tmp_path):
    data = Voc(tmp_path / "data")
    data.add("a", obj()).write_text("junk")
    data.close()
    with pytest.raises(DataError, match="no picture is left to write"):
        fix(check(data.root, config="demo"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_samples_of_ones_own_become_coco(tmp_path):
    bad = Sample("b", np.asarray(scene("b")), np.array([[5, 5, 5, 9.0], [1, 1, 9, 9], [1, 1, 9, 9]]), ("dog",) * 3)
    written = fix(check(DataSet({"train": [bad]}, ("dog",)), config="demo"), tmp_path / "out").written
    assert (written.format, written.objects) == ("coco", 1)
