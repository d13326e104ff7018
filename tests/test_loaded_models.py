"""Models of other libraries are used as any other: measured, trained from, truncated, kept as runs."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import shape_data, write_voc
from PIL import Image
from torchvision_random import GENERATED, MOBILE_320, NAMES, torchvisions

from rcnn import api
from rcnn.api import sweeping
from rcnn.api.compressing import compress
from rcnn.api.loading import as_trained
from rcnn.api.saving import read_whole
from rcnn.api.transfer import read_source
from rcnn.bench.detectron2 import PYRAMID
from rcnn.bench.detectron2_weights import renamed
from rcnn.bench.predict import untrained
from rcnn.cli import main

pytestmark = pytest.mark.usefixtures("quiet_log")
TORCHVISION, DETECTRON2 = f"torchvision:{MOBILE_320}", f"detectron2:{PYRAMID}"


def words(*parts):
    return [str(part) for part in parts]


@pytest.fixture(scope="module")
def mobile(tmp_path_factory):
    """A state dict of torchvision's, of random weights that find things."""
    file = tmp_path_factory.mktemp("weights") / "mobile.pth"
    torch.save(torchvisions(MOBILE_320).state_dict(), file)
    return file


@pytest.fixture(scope="module")
def kept(mobile, tmp_path_factory):
    """Torchvision's model as a run."""
    out = tmp_path_factory.mktemp("runs") / "mobile"
    assert main(words("convert", TORCHVISION, "--to", "run", "--weights", mobile, "--out", out)) == 0
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Shapes under names that the model's classes have."""
    plain = shape_data(1, 1, 1)
    known = {"disc": "class 1", "square": "class 2"}
    splits = {
        split: [replace(sample, names=tuple(known[name] for name in sample.names)) for sample in part]
        for split, part in plain.splits.items()
    }
    return write_voc(tmp_path_factory.mktemp("data") / "shapes", replace(plain, splits=splits))


def found(detector, pictures=GENERATED):
    return list(detector.predict(list(pictures)))


def assert_equal(now, then):
    for one, other in zip(now, then, strict=True):
        assert len(other) >= 30
        assert all(torch.equal(getattr(one, part), getattr(other, part)) for part in ("boxes", "scores", "labels"))


def assert_near(now, then):
    """But for detections whose scores tie."""
    for one, other in zip(now, then, strict=True):
        assert len(one) == len(other) >= 30
        torch.testing.assert_close(one.scores, other.scores, atol=1e-4, rtol=0)
        near = (one.boxes[:, None] - other.boxes).abs().amax(-1) < 0.01
        assert (near & (one.labels[:, None] == other.labels)).any(1).float().mean() > 0.98


def test_a_loaded_model_is_kept_as_a_run_that_finds_exactly_the_same(kept, mobile):
    assert sorted(file.name for file in kept.iterdir()) == ["config.yaml", "model.safetensors"]
    run = api.load(kept, "cpu")
    assert run.class_names == NAMES
    assert_equal(found(run), found(api.load(TORCHVISION, "cpu", weights=mobile)))


def test_a_loaded_model_truncated_at_full_rank_finds_the_same(mobile, tmp_path):
    compress(TORCHVISION, {"fc7": 1024}, tmp_path / "run", weights=mobile)
    run, theirs = api.load(tmp_path / "run", "cpu"), api.load(TORCHVISION, "cpu", weights=mobile)
    assert_near(found(run, GENERATED[:1]), found(theirs, GENERATED[:1]))


def test_detectron2s_model_becomes_a_run_with_all_its_weights_names_and_numbers(tmp_path):
    state = renamed(untrained("fasterrcnn_resnet50_fpn", 80).state_dict())
    file = tmp_path / "model_final.pkl"
    file.write_bytes(pickle.dumps({"model": {name: value.numpy() for name, value in state.items()}}, protocol=2))
    theirs = read_whole(DETECTRON2, torch.device("cpu"), file).detector
    compress(DETECTRON2, {"fc7": 1024}, tmp_path / "run", weights=file)
    run = as_trained(tmp_path / "run", torch.device("cpu"))
    own, expected = run.model.state_dict(), theirs.model.state_dict()
    same = [name for name in own if not name.startswith("head.layers.fc7")]
    assert len(same) > 100
    assert all(torch.equal(own[name], expected[name]) for name in same)
    rows = torch.randn(5, 1024, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(run.model.head.layers["fc7"](rows), theirs.model.head.layers["fc7"](rows))
    assert (run.preprocess, run.category_ids) == (theirs.preprocess, theirs.category_ids)
    assert (run.class_names[-1], run.category_ids["toothbrush"]) == ("toothbrush", 90)


def test_the_command_truncates_a_loaded_model_into_a_run_for_every_command(mobile, data, tmp_path, capsys):
    out = tmp_path / "small"
    assert main(words("compress", TORCHVISION, "--weights", mobile, "--svd", "fc7=16", "--out", out)) == 0
    assert "fc7" in capsys.readouterr().out
    assert main(words("evaluate", out, data, "--device", "cpu", "--threshold-for", "recall=0.5")) == 0
    assert main(words("compress", out, "--svd", "fc7=8", "--out", tmp_path / "smaller")) == 2
    assert "fc7: truncated to rank 16 already" in capsys.readouterr().err
    assert main(words("train", data, "--resume", "--out", out)) == 2
    assert "cannot be resumed" in capsys.readouterr().err


def test_a_sweep_of_a_loaded_model_names_a_command_that_makes_a_run(mobile, data, tmp_path, capsys, monkeypatch):
    def cheap(layer):  # fc6, of 12,544 inputs, would take long
        return decompose(layer) if layer.in_features == 1024 else SimpleNamespace(layer=layer)

    decompose = sweeping.decompose
    monkeypatch.setattr(sweeping, "decompose", cheap)
    monkeypatch.setattr(sweeping, "grid", lambda layers, points: iter([("fc7", {"fc7": 256})]))
    out, options = tmp_path / "sweep", ["--points", "1", "--repeats", "1", "--tolerance", "100", "--by", "parameters"]
    assert main(words("compress", TORCHVISION, "--weights", mobile, "--sweep", data, "--out", out, *options)) == 0
    told = capsys.readouterr().out
    assert f"rcnn compress {TORCHVISION} --weights {mobile} --svd fc7=256 --out {MOBILE_320}-svd" in told


def test_a_loaded_model_is_measured_and_predicts(mobile, data, tmp_path, capsys):
    picture = tmp_path / "a.png"
    Image.fromarray(GENERATED[0]).save(picture)
    given = words("--weights", mobile, "--device", "cpu")
    assert main(words("evaluate", TORCHVISION, data, *given)) == 0
    assert "1 picture" in capsys.readouterr().out
    assert main(words("predict", TORCHVISION, picture, "--out", tmp_path / "out", "--score", "0", *given)) == 0
    assert "class " in capsys.readouterr().out


def test_training_begins_from_a_loaded_model_with_its_weights_in_a_file(mobile, data, tmp_path, capsys):
    out, begin = tmp_path / "run", words("--from", TORCHVISION, "--weights", mobile, "--no-report", "--device", "cpu")
    assert main(words("train", data, "--out", out, "--epochs", "1", "--size", "64", *begin)) == 0
    assert "class 1 kept" in " ".join(capsys.readouterr().out.split())
    assert api.load(out, "cpu").class_names == ("class 1", "class 2")
    assert main(words("train", data, "--out", out, "--resume", "--weights", "other.pth", "--device", "cpu")) == 2
    assert "--weights is other.pth, but the run began with" in capsys.readouterr().err


def test_a_run_that_was_kept_tells_its_settings_and_weights_like_any_other(kept, mobile, data, capsys):
    assert main(words("check", data, "--run", kept)) == 0
    theirs = read_source(TORCHVISION, mobile)
    assert replace(read_source(kept), name=theirs.name, tensors={}) == replace(theirs, tensors={})


WRONG = {
    "a run": ("convert {kept} --to run --out {tmp}/new", "no model of another library; give torchvision:NAME"),
    "exists": (f"convert {TORCHVISION} --to run --weights {{file}} --out {{tmp}}", "exists; pass --overwrite"),
    "weights of a run": ("convert {kept} --weights {file} --out {tmp}/new", "is a run, which has its own"),
    "nothing to begin": ("train {data} --weights {file} --out {tmp}/new", "are those that --from LIBRARY:NAME"),
    "run to begin": ("train {data} --from {kept} --weights {file} --out {tmp}/new", "is a run, which has its own"),
    "no file to begin": (f"train {{data}} --from {DETECTRON2} --out {{tmp}}/new", "pass its model_final_....pkl"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_one_line_and_writes_nothing(case, kept, mobile, data, tmp_path, capsys):
    line, message = WRONG[case]
    assert main(line.format(kept=kept, file=mobile, data=data, tmp=tmp_path).split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
