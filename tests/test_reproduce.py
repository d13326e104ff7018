"""`rcnn reproduce`: each row can be built, and one of each method runs to its end on a miniature VOC."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from conftest import Silent
from voc_devkit import write_devkit, write_regions

from rcnn import api, build
from rcnn.api.reproducing import Plan, Reproduced, measure_row, plans, prepare_row, voc_data
from rcnn.cli import main
from rcnn.cli.reproduce import Foresight, _report, forecast, lengths
from rcnn.errors import DataError
from rcnn.evaluation import Evaluation
from rcnn.presets import rows as rows_module
from rcnn.presets.overrides import override
from rcnn.presets.rows import ROWS, row_config
from rcnn.training.loop import Progress

pytestmark = pytest.mark.usefixtures("quiet_log")

SMALL = {
    "input.short": 64,
    "input.long": 128,
    "model.head.widths": [24, 24],
    "model.head.samples": 8,
    "training.iterations": 2,
}
SMALL_OF = {
    "rcnn": {"model.head.crop": 64, "model.head.context": 4, "model.head.pool": 2},
    "sppnet": {},
    "fast-rcnn": {},
    "faster-rcnn": {
        "training.rpn_iterations": 2,
        "model.rpn.anchor_sizes": [[16, 32]],
        "model.rpn.width": 16,
        "model.rpn.side": 0.0,
    },
}


def small(row):
    return SMALL | SMALL_OF[row_config(row).model.method]


def words(row):
    return [word for key, value in small(row).items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def devkit(tmp_path_factory):
    return write_devkit(tmp_path_factory.mktemp("voc") / "VOCdevkit")


@pytest.fixture(scope="module")
def regions(devkit):
    return write_regions(devkit, devkit / "regions.safetensors")


@pytest.mark.parametrize("name", ROWS)
def test_each_row_can_be_built(name):
    config = build.resolved(row_config(ROWS[name]), pretrained=True)
    with torch.device("meta"):
        model, _ = build.detector(config, classes=20)
        stages = build.stages(model, config)
    assert stages
    assert config.input.bucket == "exact32"


@pytest.mark.parametrize("name", ["rcnn-alexnet-07", "sppnet-zf-07", "fast-rcnn-alexnet-07", "faster-rcnn-zf-07"])
def test_a_row_of_each_method_runs_to_its_end(name, devkit, regions, tmp_path, capsys):
    out = tmp_path / "run"
    given = [] if name.startswith("faster-rcnn") else ["--proposals", regions]
    command = ["reproduce", name, "--voc", devkit, "--out", out, "--weights", "none", *given]
    assert main([*map(str, command), "--device", "cpu", *words(ROWS[name])]) == 0
    shown = capsys.readouterr().out
    assert f"{ROWS[name].map:g}" in shown
    assert "not as in the paper" in shown
    content = json.loads((out / "reproduce.json").read_text())
    assert (content["row"], content["protocol"], content["pictures"]) == (name, "voc07", 3)
    assert content["published"]["mAP"] == ROWS[name].map
    assert content["difference"] == pytest.approx(content["ours"]["mAP"] - ROWS[name].map)
    assert set(content["per_class"]) == {"disc", "square"}
    assert "training.iterations=2" in content["set"]


def test_each_class_stands_beside_the_papers_where_it_gives_one(tmp_path, capsys):
    row, classes = ROWS["rcnn-vgg16-07"], {"boat": {"AP": 0.5}, "raccoon": {"AP": 0.25}}
    evaluation = Evaluation("voc07", 3, {"mAP": 0.375}, classes)
    found = Reproduced(row, tmp_path, evaluation, 1.0, 2.0)
    _report("rcnn-vgg16-07", found, [], "torchvision")
    shown = capsys.readouterr().out
    assert re.search(r"boat +50\.0 +45\.4 +\+4\.6", shown)
    assert re.search(r"raccoon +25\.0 +-", shown)
    content = json.loads((tmp_path / "reproduce.json").read_text())
    assert content["published"]["per_class"]["boat"] == {"AP": pytest.approx(0.454)}
    _report("rcnn-vgg-m-07", replace(found, row=ROWS["rcnn-vgg-m-07"]), [], "torchvision")
    assert "boat" not in capsys.readouterr().out


def test_a_head_too_narrow_for_the_ranks_is_told_before_it_trains(devkit, regions, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["reproduce", "fast-rcnn-alexnet-07-svd", "--voc", devkit, "--out", out, "--proposals", regions]
    line = [*map(str, command), "--weights", "none", "--set", "model.head.widths=[64]"]
    assert main(line) == 2
    assert "keeps 1024 ranks of fc6, which has 64 units; leave model.head.widths" in capsys.readouterr().err
    assert not out.exists()


def test_a_finished_row_is_measured_again_and_truncated_by_a_row_of_the_same_training(
    devkit, regions, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    command = ["--voc", devkit, "--out", out, "--weights", "none", "--proposals", regions, "--device", "cpu"]
    command = [*map(str, command), *words(ROWS["fast-rcnn-alexnet-07"])]
    assert main(["reproduce", "fast-rcnn-alexnet-07", *command]) == 0
    trained = (out / "last.safetensors").read_bytes()
    thin = replace(ROWS["fast-rcnn-alexnet-07-svd"], ranks={"fc6": 8, "fc7": 4})
    monkeypatch.setitem(rows_module.ROWS, "fast-rcnn-alexnet-07-svd", thin)
    assert main(["reproduce", "fast-rcnn-alexnet-07-svd", *command, "--resume"]) == 0
    assert (out / "last.safetensors").read_bytes() == trained
    assert json.loads((out / "svd" / "reproduce.json").read_text())["published"]["mAP"] == 56.5
    assert next(api.load(out / "svd", "cpu").model.head.layers["fc6"].parameters()).shape[0] == 8


def test_rows_on_both_years_train_on_both_and_test_on_2007(devkit):
    data = voc_data(devkit, ROWS["fast-rcnn-vgg16-07+12"])
    assert [sample.id[:4] for sample in data.splits["trainval"]] == ["2007"] * 4 + ["2012"] * 2
    assert [sample.id for sample in data.splits["test"]] == ["2007_test0", "2007_test1", "2007_test2"]
    assert data.class_names == ("disc", "square")
    assert data.splits["trainval"][0].difficult.any()


def test_the_folder_above_the_devkit_will_do(devkit):
    assert len(voc_data(devkit.parent, ROWS["fast-rcnn-vgg16-07"]).splits["test"]) == 3


def test_pictures_of_one_name_in_two_years_keep_ids_apart(devkit, tmp_path):
    shutil.copytree(devkit / "VOC2007", tmp_path / "VOC2007")
    shutil.copytree(devkit / "VOC2007", tmp_path / "VOC2012")
    data = voc_data(tmp_path, ROWS["fast-rcnn-vgg16-07+12"])
    ids = [sample.id for part in data.splits.values() for sample in part]
    assert len(set(ids)) == len(ids) == 11
    assert "VOC2012/2007_trainval0" in ids


def test_a_row_without_difficult_objects_still_tests_with_them_marked(devkit):
    data = voc_data(devkit, ROWS["fast-rcnn-vgg16-07-no-difficult"])
    assert data.splits["trainval"][0].difficult.any()
    assert not row_config(ROWS["fast-rcnn-vgg16-07-no-difficult"]).training.train_difficult


def test_the_plan_tells_iterations_and_passes_of_each_stage(devkit, regions, tmp_path):
    row = ROWS["faster-rcnn-zf-07"]
    config = override(row_config(row), None, (), small(row) | {"training.iterations": 7})
    data = voc_data(devkit, row)
    options = {"weights": "none", "device": "cpu"}
    prepared = prepare_row("it", row, config, data, tmp_path / "run", Silent(), **options)
    told = [(plan.stage, plan.batch, plan.iterations, plan.passes) for plan in plans(prepared)]
    rpn, detector = (1, 4, 1.0), (2, 8, 4.0)  # whole passes over four pictures
    assert told == [("1-rpn", *rpn), ("2-detector", *detector), ("3-rpn", *rpn), ("4-detector", *detector)]


def test_a_row_that_was_not_trained_cannot_be_measured(devkit, tmp_path):
    with pytest.raises(Exception, match="no such run"):
        measure_row(ROWS["fast-rcnn-vgg16-07"], voc_data(devkit, ROWS["fast-rcnn-vgg16-07"]), tmp_path / "none", "cpu")


@pytest.mark.parametrize(
    ("steps", "told"), [(2, "10 seconds"), (60, "5 minutes"), (3600, "5 hours"), (40_000, "2 days")]
)
def test_the_rest_of_a_stage_is_told_in_a_fitting_unit(steps, told):
    assert forecast(5.0, steps).endswith(told)


def test_what_is_left_is_told_in_the_singular_and_not_where_it_is_nothing(tmp_path, capsys):
    assert forecast(1.2, 1) == "note: 1.2 s a step; the one that is left of this stage takes about 1 second"
    assert lengths(Plan("a", 5, 1, 5)) == "stage a: 5 iterations of 1 picture, 1 pass over 5"
    foresight = Foresight(tmp_path)
    foresight.stage_started("a", 1, 1)
    foresight.epoch_started(1, 1, 3)
    for batch in (1, 2, 3):
        foresight.stepped(Progress(batches=batch, pictures=batch, seconds=1.0), 0.1)
    assert "left of this stage" not in capsys.readouterr().out


def test_without_a_row_all_are_listed_with_their_numbers(capsys):
    assert main(["reproduce"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ROWS)
    assert "66.9" in shown
    assert "07+12" in shown


WRONG = {
    "no devkit": ("fast-rcnn-vgg16-07", "pass --voc DEVKIT"),
    "an unknown row": ("fast-rcnn-vg16-07 --voc {voc}", "did you mean fast-rcnn-vgg16-07?"),
    "no VOC2007": ("fast-rcnn-vgg16-07 --voc {tmp}", "unpack VOCtrainval_06-Nov-2007.tar"),
    "no VOC2012": ("fast-rcnn-vgg16-07+12 --voc {only07}", "holds no VOC2012"),
    "a network without weights": ("faster-rcnn-zf-07 --voc {voc}", "no ImageNet weights of zf"),
    "no such file of weights": (
        "fast-rcnn-alexnet-07 --voc {voc} --weights none.pth --proposals {regions}",
        "none.pth",
    ),
    "a wrong setting": ("fast-rcnn-alexnet-07 --voc {voc} --set training.lrr=1", "did you mean training.lr?"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_missing_is_told_in_one_line(case, devkit, regions, tmp_path, capsys):
    words, told = WRONG[case]
    only07 = write_devkit(tmp_path / "only07", years=("VOC2007",)) if "{only07}" in words else None
    words = words.format(voc=devkit, tmp=tmp_path, only07=only07, regions=regions)
    assert main(["reproduce", *words.split(), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err.strip()
    assert told in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_weights_that_cannot_be_downloaded_are_asked_for_by_the_option_of_this_command(
    devkit, regions, tmp_path, capsys, monkeypatch
):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    command = ["--voc", devkit, "--out", tmp_path / "run", "--proposals", regions, "--device", "cpu"]
    sets = words(ROWS["fast-rcnn-alexnet-07"])
    assert main(["reproduce", "fast-rcnn-alexnet-07", *map(str, command), *sets]) == 2
    error = capsys.readouterr().err
    assert "pass --weights FILE or none" in error


def test_a_devkit_without_its_test_set_is_told_which_archive_to_unpack(devkit, tmp_path):
    shutil.copytree(devkit / "VOC2007", tmp_path / "VOC2007")
    (tmp_path / "VOC2007" / "ImageSets" / "Main" / "test.txt").unlink()
    with pytest.raises(DataError, match=r"no split test; unpack VOCtest_06-Nov-2007\.tar"):
        voc_data(tmp_path, ROWS["fast-rcnn-vgg16-07"])
