"""The commands: what they print and write, and how they answer wrong input."""

import json
import re

import numpy as np
import pytest
import torch
from conftest import COLOURS, TINY_SETS, rows_of, shape_data, shape_sample, tiny_config, write_voc
from safetensors.torch import save_file

from rcnn import api
from rcnn.cli import demo, main
from rcnn.cli.numbers import show
from rcnn.cli.progress import TrainingProgress
from rcnn.config import Config
from rcnn.evaluation import Evaluation
from rcnn.presets.overrides import override, preset
from rcnn.sample import DataSet, Sample
from rcnn.training.loop import Progress

pytestmark = pytest.mark.usefixtures("quiet_log")
REPORTED = ["--preset", "demo", "--backbone-weights", "none", "--device", "cpu", *TINY_SETS]
RANDOM = [*REPORTED, "--no-report"]


@pytest.fixture
def places(tmp_path, voc, run):
    """Names to build wrong command lines from."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "notes.txt").touch()
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "settings.yaml").write_text("training:\n  lr: fast\n")
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    (tmp_path / "junk.pth").write_bytes(b"junk")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:2000])
    trainonly = write_voc(tmp_path / "trainonly", shape_data(2, 0))
    stars = DataSet({"test": [Sample("s", shape_sample("s").picture, np.array([[1, 1, 9, 9]]), ("star",))]}, ("star",))
    others = write_voc(tmp_path / "stars", stars)
    broken = write_voc(tmp_path / "broken", shape_data(2, 1))
    (broken / "JPEGImages" / "train0.png").write_bytes(b"junk")
    return {"tmp": tmp_path, "voc": voc, "run": run, "trainonly": trainonly, "stars": others, "broken": broken}


WRONG_TRAINING = {
    "no such folder": ("{tmp}/nowhere", "nowhere: no such file or folder"),
    "an empty folder": ("{tmp}/empty", "an empty folder"),
    "no data in it": ("{tmp}/photos", "no data set found"),
    "a text file": ("{tmp}/file", "give a folder, or the file of COCO"),
    "wrong format": ("{voc} --format coco", "no COCO file"),
    "unknown format": ("{voc} --format vocc", "--format vocc: choose voc, coco"),
    "a preset's beginning": ("{voc} --preset fast-rcnn", "(did you mean fast-rcnn-mobilenet-fpn, fast-rcnn-alexnet, "),
    "unknown preset": ("{voc} --preset faster-rcn-r50-fpn", "did you mean faster-rcnn-r50-fpn?"),
    "unknown key": ("{voc} --set training.lrr=1", "did you mean training.lr?"),
    "no value": ("{voc} --set training.lr", "not KEY=VALUE"),
    "wrong value": ("{voc} --set training.lr=fast", "training.lr"),
    "unknown option": ("{voc} --epoch 3", "--epochs"),
    "missing settings": ("{voc} --config {tmp}/none.yaml", "none.yaml"),
    "wrong settings": ("{voc} --config {tmp}/settings.yaml", "settings.yaml: training.lr"),
    "no epoch": ("{voc} --epochs 0", "--epochs: training.epochs: should be greater than 0, not 0"),
    "no size": ("{voc} --size 0", "--size: input.short: should be"),
    "negative size": ("{voc} --size -64", "--size: input.short: should be"),
    "size in words": ("{voc} --size big", "--size big: should be a valid integer"),
    "unknown scheme": ("{voc} --scheme foo", "--scheme foo: choose auto, approximate-joint, 4-step, exact-joint"),
    "a scheme of another method": (
        "{voc} --scheme 4-step --preset fast-rcnn-mobilenet-fpn",
        "4-step is no scheme of fast-rcnn; choose auto, multi-task, stage-wise",
    ),
    "a scheme where there is one": (
        "{voc} --scheme 4-step --preset sppnet-mobilenet",
        "training.scheme: sppnet has one scheme only; leave --scheme out",
    ),
    "unknown device": ("{voc} --device gpu", "--device gpu: no such device here"),
    "missing device": ("{voc} --device cuda:77", "--device cuda:77: no such device here"),
    "unknown precision": ("{voc} --precision fp8", "--precision"),
    "unknown split": ("{voc} --train-split trian", "split 'trian': the data has train, val, test"),
    "no val split": ("{trainonly}", "pass --val-split NAME or none"),
    "no weights there": ("{voc} --backbone-weights {tmp}/none.pth", "none.pth: no such file"),
    "junk for weights": ("{voc} --backbone-weights {tmp}/junk.pth", "junk.pth: cannot be read as weights"),
    "weights that fit nothing": ("{voc} --backbone-weights {tmp}/foreign.safetensors", "fits 0 of"),
    "levels at odds": ("{voc} --set model.rpn.anchor_sizes=[[8],[16]]", "model.rpn.anchor_sizes: 2 levels"),
    "resume of nothing": ("{voc} --resume", "no such file; give the folder of a run"),
    "inside of a file": ("{voc} --out {tmp}/file/run", "a file, or inside of one"),
}


@pytest.mark.parametrize("words", WRONG_TRAINING)
def test_wrong_input_to_train_is_one_line_and_leaves_nothing_behind(words, places, capsys, monkeypatch):
    line, message = WRONG_TRAINING[words]
    monkeypatch.chdir(places["tmp"])
    before = set(places["tmp"].rglob("*"))
    given = line.format(**places).split()
    defaults = [*RANDOM, "--out", str(places["tmp"] / "new")]
    assert main(["train", *defaults, *given]) == 2
    assert_one_line(capsys.readouterr().err, message)
    assert set(places["tmp"].rglob("*")) == before


def assert_one_line(error, message):
    assert error.startswith("rcnn: ")
    assert "Traceback" not in error
    assert message in error
    assert len(error.strip().splitlines()) == 1, error


def test_a_network_without_published_weights_begins_from_random_ones(voc, tmp_path):
    random = ["--preset", "demo", *TINY_SETS, "--epochs", "1", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main(["train", str(voc), *random]) == 0
    assert api.stored_config(tmp_path / "run").model.norm == "group"


def test_an_output_folder_that_exists_is_refused_before_the_data_is_read(places, capsys):
    assert main(["train", str(places["tmp"] / "nowhere"), *RANDOM, "--out", str(places["tmp"] / "empty")]) == 2
    assert "exists; pass --resume to go on with it, or --overwrite" in capsys.readouterr().err


def test_defective_data_is_listed_and_stops_training(places, capsys):
    assert main(["train", str(places["broken"]), *RANDOM, "--out", str(places["tmp"] / "new")]) == 2
    error = capsys.readouterr().err.splitlines()
    assert error[0].endswith("1 other defect; mend them or pass --bad-boxes drop")
    assert "train0.png: not a picture" in error[1]
    assert not (places["tmp"] / "new").exists()


def test_training_that_fails_is_status_1(voc, tmp_path, capsys):
    settings = ["--lr", "1e30", "--set", "warmup=0", "--epochs", "3", "--out", str(tmp_path / "run")]
    assert main(["train", str(voc), *RANDOM, *settings]) == 1
    assert re.search(r"^rcnn: epoch \d.* loss \w+ is (nan|inf).*lower --lr", capsys.readouterr().err, re.MULTILINE)


WRONG_EVALUATION = {
    "no such run": ("{tmp}/nowhere {voc}", "nowhere: no such run"),
    "no model in it": ("{tmp}/empty {voc}", "model.safetensors: no such file"),
    "half a model": ("{tmp}/half {voc}", "not a whole safetensors file"),
    "a foreign file": ("{tmp}/foreign.safetensors {voc}", "not one of this library's runs"),
    "no such model": ("torchvision:fasterrcn {voc}", "fasterrcn"),
    "missing data": ("{run} {tmp}/nowhere", "no such file or folder"),
    "unknown split": ("{run} {voc} --split tset", "did you mean 'test'?"),
    "unknown protocol": ("{run} {voc} --protocol pascal", "--protocol pascal: choose voc07, voc, coco"),
    "unknown weights": ("{run} {voc} --weights newest", "--weights newest: give best or last"),
    "other classes": ("{run} {stars}", "class 'star', which the model does not know"),
    "no batch": ("{run} {voc} --batch 0", "--batch 0: should be greater than or equal to 1"),
    "unknown device": ("{run} {voc} --device gpu", "--device gpu"),
}


@pytest.mark.parametrize("words", WRONG_EVALUATION)
def test_wrong_input_to_evaluate_is_one_line(words, places, capsys):
    line, message = WRONG_EVALUATION[words]
    assert main(["evaluate", *line.format(**places).split()]) == 2
    assert_one_line(capsys.readouterr().err, message)


WRONG_PREDICTION = {
    "no such run": ("{tmp}/nowhere {voc} --out {tmp}/new", "no such run"),
    "no picture": ("{run} {tmp}/photos --out {tmp}/new", "no picture there"),
    "no folder": ("{run} {voc}", "--out"),
    "unlikely score": ("{run} {voc} --out {tmp}/new --score 2", "--score"),
    "unknown weights": ("{run} {voc} --out {tmp}/new --weights newest", "give best or last"),
    "unknown option": ("{run} {voc} --out {tmp}/new --scores 0.5", "--score"),
}


@pytest.mark.parametrize("words", WRONG_PREDICTION)
def test_wrong_input_to_predict_is_one_line_and_makes_no_folder(words, places, capsys):
    line, message = WRONG_PREDICTION[words]
    assert main(["predict", *line.format(**places).split()]) == 2
    assert_one_line(capsys.readouterr().err, message)
    assert not (places["tmp"] / "new").exists()


def test_a_trained_run_holds_its_files_and_a_plan_is_shown_first(voc, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", str(voc), *REPORTED, "--epochs", "1", "--out", str(out)]) == 0
    names = {file.name for file in out.iterdir()}
    tensors, texts = {"model.safetensors", "last.safetensors"}, {"config.yaml", "metrics.jsonl", "splits.json"}
    assert names == tensors | texts | {"events", "report.html", "report.json"}
    assert override(Config(), out / "config.yaml", (), {}) == api.stored_config(out) == tiny_config(epochs=1)
    assert json.loads((out / "splits.json").read_text())["val"] == ["val0", "val1"]
    printed = capsys.readouterr().out
    assert printed.startswith("train  4 pictures, 8 objects, 0 pictures without any\nval    2 pictures")
    assert "classes  disc, square" in printed
    parts = [line.split()[0] for line in printed.splitlines()[4:8]]
    assert parts == ["backbone", "backbone.fpn", "rpn", "head"]
    assert printed.endswith(f"done: {out} holds the run; next: rcnn evaluate {out} {voc} --split test\n")


def test_with_debug_the_plan_lists_the_layers_of_the_backbone(voc, tmp_path, capsys):
    assert main(["--debug", "train", str(voc), *RANDOM, "--epochs", "1", "--out", str(tmp_path / "run")]) == 0
    assert "backbone.body.stem" in capsys.readouterr().out


def test_the_plan_of_a_run_that_goes_on_says_resumed_and_an_equal_rate_once(voc, tmp_path, capsys):
    words = ["train", str(voc), *RANDOM, "--epochs", "1", "--out", str(tmp_path / "run")]
    words += ["--set", "training.optimizer=sgd", "--set", "training.lr_pictures=2"]
    assert main(words) == 0
    assert re.search(r"^sgd, rate \S+ for 2 pictures a step; fp32", capsys.readouterr().out, re.MULTILINE)
    assert main([*words, "--resume"]) == 0
    assert re.search(r"^backbone +resumed +-", capsys.readouterr().out, re.MULTILINE)


def test_auto_is_a_scheme_of_every_method(voc, tmp_path):
    words = ["--scheme", "auto", "--epochs", "1", "--out", str(tmp_path / "run")]
    assert main(["train", str(voc), *RANDOM, *words]) == 0


def test_few_objects_are_said_to_tell_little(run, voc, capsys):
    assert main(["evaluate", str(run), str(voc), "--device", "cpu"]) == 0
    assert "\nnote: 6 objects only: chance weighs much in these numbers\n" in capsys.readouterr().out


def test_a_metric_stays_beside_its_name_and_columns_without_numbers_are_left_out(capsys):
    metrics = {f"AR_{number}": 0.5 for number in range(20)}
    numbers = {"AP": 0.5, "AP50": float("nan")}
    show(Evaluation("coco", 1, metrics, {"disc": numbers}), "val", 0)
    shown = capsys.readouterr().out
    assert shown.startswith("coco protocol, split val: 1 picture, ")
    assert max(map(len, shown.splitlines())) <= 80
    assert all(f"AR_{number} 0.500" in shown for number in range(20))
    assert "AP50" not in shown


def test_metrics_are_one_object_a_line_with_finite_numbers(run):
    text = (run / "metrics.jsonl").read_text("utf-8")
    assert not re.search("NaN|Infinity", text)
    assert [(row["epoch"], row["split"]) for row in rows_of(run)] == [(1, "train"), (1, "val")]


@pytest.mark.parametrize("protocol", ["coco", "voc", "voc07"])
def test_evaluation_writes_the_documented_numbers(run, voc, tmp_path, protocol, capsys):
    target = tmp_path / "new" / "numbers.json"
    words = ["evaluate", str(run), str(voc), "--protocol", protocol, "--json", str(target), "--device", "cpu"]
    assert main([*words, "--batch", "2"]) == 0
    numbers = json.loads(target.read_text("utf-8"))
    assert numbers["protocol"] == protocol
    assert numbers["split"] == "test"
    assert numbers["pictures"] == 3
    assert numbers["seconds_per_image"] > 0
    of_class = {"AP", "AP50"} if protocol == "coco" else {"AP"}
    assert {name: set(row) for name, row in numbers["per_class"].items()} == dict.fromkeys(COLOURS, of_class)
    wanted = {"AP", "AP50", "AP75"} if protocol == "coco" else {"mAP"}
    assert all(numbers[name] is None or 0 <= numbers[name] <= 1 for name in wanted)
    printed = capsys.readouterr().out
    assert printed.startswith(f"{protocol} protocol, split test: 3 pictures, ")
    assert all(name in printed for name in COLOURS)


def test_warnings_and_class_names_are_printed_as_they_are(capsys):
    warning = "a note that is longer than a line of a terminal, about [bold] and :cat: " + "x" * 60
    show(Evaluation("voc", 1, {"mAP": 0.5}, {"[/b]": {"AP": 0.5}, "[red]": {"AP": float("nan")}}, (warning,)), "val", 0)
    printed = capsys.readouterr().out
    assert f"note: {warning}\n" in printed
    assert re.search(r"^\[/b\] +0\.500", printed, re.MULTILINE)
    assert re.search(r"^\[red\] +- *$", printed, re.MULTILINE)


def test_classes_with_brackets_train(tmp_path, capsys):
    samples = [Sample(f"p{i}", shape_sample("p").picture, np.array([[9, 9, 40, 40]]), ("[/b]",)) for i in range(2)]
    data = write_voc(tmp_path / "data", DataSet({"train": samples}, ("[/b]",)))
    words = ["--epochs", "1", "--val-split", "none", "--out", str(tmp_path / "run")]
    assert main(["train", str(data), *RANDOM, *words]) == 0
    assert "classes  [/b]\n" in capsys.readouterr().out


def test_cut_candidates_are_told(voc, tmp_path, capsys):
    words = [
        "--set",
        "candidates=40",
        "--set",
        "maximum=40",
        "--set",
        "detections.score=0",
        "--set",
        "detections.nms=0.2",
        "--epochs",
        "1",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(["train", str(voc), *RANDOM, *words]) == 0
    assert main(["evaluate", str(tmp_path / "run"), str(voc), "--device", "cpu"]) == 0
    wanted = "note: 3 pictures had more candidates than the cap; raise model.detections.candidates\n"
    assert wanted in capsys.readouterr().out


def test_splits_that_were_drawn_stay_those_of_the_run_as_the_data_grows(tmp_path):
    data = write_voc(tmp_path / "data", DataSet({"train": [shape_sample(f"p{i}") for i in range(8)]}, tuple(COLOURS)))
    (data / "ImageSets" / "Main" / "train.txt").unlink()
    out = tmp_path / "run"
    assert main(["train", str(data), *RANDOM, "--epochs", "1", "--out", str(out)]) == 0
    before = json.loads((out / "splits.json").read_text())
    assert {split: len(ids) for split, ids in before.items()} == {"train": 6, "val": 1, "test": 1}
    more = write_voc(tmp_path / "more", DataSet({"x": [shape_sample(f"q{i}") for i in range(40)]}, tuple(COLOURS)))
    for folder in ("JPEGImages", "Annotations"):
        for file in (more / folder).iterdir():
            file.rename(data / folder / file.name)
    dataset = api.read_data(data)
    assert len(dataset.splits["test"]) > 1
    samples = api.evaluation_samples(api.load(out, "cpu"), dataset, "test", out)
    assert [sample.id for sample in samples] == before["test"]


def test_the_demo_trains_evaluates_and_draws(tmp_path, monkeypatch, capsys):
    small = {"input.short": 64, "long": 84}
    monkeypatch.setattr("rcnn.cli.commands.demo.preset", lambda name: override(preset(name), None, (), small))
    for name, count in (("TRAIN", 4), ("VAL", 1), ("TEST", 3), ("SHOWN", 2)):
        monkeypatch.setattr(demo, name, count)
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--epochs", "1"]) == 0
    printed = capsys.readouterr().out
    assert "coco protocol, split test: 3 pictures" in printed
    assert "rcnn predict runs/mine PICTURES --out found" in printed
    assert len(list((out / "examples").glob("*.png"))) == 3
    assert (out / "examples" / "sheet.png").is_file()
    assert main(["demo", "--out", str(out), "--epochs", "1"]) == 2
    assert "exists" in capsys.readouterr().err


def test_a_tiny_detector_learns_its_pictures_by_heart(tmp_path, capsys):
    data, out = write_voc(tmp_path / "data", shape_data(8, 0)), tmp_path / "run"
    learn = ["--epochs", "60", "--batch", "4", "--lr", "3e-3", "--set", "warmup=5", "--val-split", "none"]
    assert main(["train", str(data), *RANDOM, *learn, "--out", str(out)]) == 0
    numbers, found = tmp_path / "numbers.json", tmp_path / "found.json"
    words = ["--split", "train", "--json", str(numbers), "--device", "cpu"]
    assert main(["evaluate", str(out), str(data), *words]) == 0
    assert json.loads(numbers.read_text())["AP50"] >= 0.8
    words = ["--out", str(tmp_path / "drawn"), "--json", str(found), "--device", "cpu"]
    assert main(["predict", str(out), str(data / "JPEGImages"), *words]) == 0
    names = {row["category_name"] for row in json.loads(found.read_text())}
    assert names == set(COLOURS)
    assert len(list((tmp_path / "drawn").iterdir())) == 8


@pytest.mark.parametrize(
    ("waited", "on_gpu", "told"), [(0.9, True, 1), (0.1, True, 1), (0.05, True, 0), (0.9, False, 0)]
)
def test_a_gpu_that_waits_for_pictures_is_told_of_once(tmp_path, capsys, waited, on_gpu, told):
    listener = TrainingProgress(tmp_path)
    listener.tells_waiting = on_gpu
    for epoch in (1, 2, 3):
        listener.epoch_started(epoch, 3, 3)
        for batch in (1, 2, 3):
            progress = Progress(epoch=epoch, batches=batch, pictures=batch, seconds=1.0, waited=waited)
            listener.stepped(progress, 0.1)
    said = f"{waited:.0%} of the epoch was waiting for pictures; pass more --workers"
    assert capsys.readouterr().out.count(said) == told
