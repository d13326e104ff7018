"""`rcnn pretrain`: it learns, resumes to the bit, and what it writes is what a backbone begins with."""

import pickle
import re
import signal

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from rcnn.api.pretraining import prepare_pretraining
from rcnn.backbones import FULLY_CONNECTED, NETWORKS, fully_connected, load_backbone_weights
from rcnn.backbones import classifier as classifiers
from rcnn.cli import frame, main
from rcnn.training.classify import ClassObjective, state_file
from rcnn.training.session import Stopped

COLOURS = {"blue": (40, 60, 200), "green": (50, 170, 60), "red": (210, 40, 50)}
QUICK = {"backbone": "small", "size": 32, "batch": 8, "epochs": 3, "lr": 3e-3, "precision": "fp32"}


@pytest.fixture(autouse=True)
def quiet_log():
    """The command line sets up logging; take that back."""
    yield
    frame.log.handlers = []
    frame.log.setLevel(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Noisy pictures of three colours, 16 each."""
    root, rng = tmp_path_factory.mktemp("data") / "colours", np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(16):
            pixels = rng.normal(colour, 40, (40, 36, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


class Recorder:
    """A listener that keeps the rows, and sends a signal after some steps."""

    def __init__(self, stop_after=0):
        self.rows = []
        self.left = stop_after

    def epoch_started(self, epoch, epochs, batches):
        pass

    def stepped(self, progress, lr):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)

    def epoch_ended(self, rows, best):
        self.rows += rows


def prepare(folder, out, listener=None, resume=False, overwrite=False, **settings):
    settings = settings if resume else QUICK | settings
    return prepare_pretraining(
        folder, out, listener or Recorder(), settings, device="cpu", resume=resume, overwrite=overwrite
    )


def same(one, other):
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """The file of a small network that knows the colours, and the rows of its training."""
    out, listener = tmp_path_factory.mktemp("out") / "small.safetensors", Recorder()
    prepare(folder, out, listener).session.run()
    return out, listener.rows


def test_a_small_network_learns_and_its_best_epoch_is_kept(trained):
    out, rows = trained
    accuracies = [row["accuracy"] for row in rows if row["split"] == "val"]
    assert len(accuracies) == 3
    assert max(accuracies) > 0.8  # chance is 0.33
    with safe_open(out, framework="pt") as file:
        assert f'"accuracy": {max(accuracies)}' in file.metadata()["rcnn"]
        assert '"class_names": ["blue", "green", "red"]' in file.metadata()["rcnn"]
    assert not state_file(out).exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_the_file_fills_a_backbone_whole(folder, tmp_path, suffix):
    out = tmp_path / f"small{suffix}"
    prepare(folder, out, epochs=1).session.run()
    body = NETWORKS["small"](None)
    report = load_backbone_weights(body, "small", out)
    assert (report.kept, report.skipped) == ((), ())
    assert body.stage1[0][1].running_mean.abs().sum() > 0  # batch norm has learned
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_the_fully_connected_layers_come_along(folder, tmp_path, monkeypatch):
    narrow = classifiers.FullyConnected(widths=(24, 16), grid=2)
    monkeypatch.setitem(FULLY_CONNECTED, "zf", narrow)
    out = tmp_path / "zf.safetensors"
    prepare(folder, out, backbone="zf", epochs=1, lr=1e-4).session.run()
    state, body = load_file(out), NETWORKS["zf"](None)
    report = load_backbone_weights(body, "zf", out)
    assert (report.kept, report.skipped) == ((), ())
    layers = fully_connected("zf", state)
    assert {name: tuple(value.shape) for name, value in layers.items()} == {
        "fc6.weight": (24, 1024), "fc6.bias": (24,), "fc7.weight": (16, 24), "fc7.bias": (16,),
    }  # fmt: skip
    row = state["classifier.fc6.weight"][3].view(256, 2, 2)
    assert torch.equal(layers["fc6.weight"][3].view(2, 2, 256)[1, 0], row[:, 1, 0])


@pytest.mark.parametrize("steps", [2, 5, 7, 12])
def test_a_stopped_training_goes_on_bitwise(folder, tmp_path, steps, trained):
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    settings = {"frozen_epochs": 1, "epochs": 2, "weights": str(trained[0])}
    expected, stopped, resumed = Recorder(), Recorder(stop_after=steps), Recorder()
    prepare(folder, whole, expected, **settings).session.run()
    with pytest.raises(Stopped, match="go on with --resume"):
        prepare(folder, parts, stopped, **settings).session.run()
    assert state_file(parts).exists()
    torch.manual_seed(99)  # what others drew in between does not matter
    prepare(folder, parts, resumed, resume=True).session.run()
    assert same(whole, parts)
    losses = [[row["loss"] for row in rows] for rows in (expected.rows, stopped.rows + resumed.rows)]
    assert losses[0] == losses[1]


def test_dropout_too_goes_on_bitwise(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(FULLY_CONNECTED, "zf", classifiers.FullyConnected(widths=(24, 16), grid=2))
    settings = {"backbone": "zf", "epochs": 2, "batch": 14, "lr": 1e-4}
    prepare(folder, tmp_path / "whole.safetensors", **settings).session.run()
    with pytest.raises(Stopped):
        prepare(folder, tmp_path / "parts.safetensors", Recorder(stop_after=2), **settings).session.run()
    torch.manual_seed(99)
    prepare(folder, tmp_path / "parts.safetensors", resume=True).session.run()
    assert same(tmp_path / "whole.safetensors", tmp_path / "parts.safetensors")


def test_at_first_only_the_new_layer_moves(folder, tmp_path, trained):
    out = tmp_path / "head.safetensors"
    session = prepare(folder, out, weights=str(trained[0]), frozen_epochs=1, epochs=1).session
    before = {name: value.clone() for name, value in session.model.state_dict().items()}
    published = load_file(trained[0])
    assert all(torch.equal(before[name], published[name]) for name in before if not name.startswith("classifier."))
    assert not torch.equal(before["classifier.logits.weight"], published["classifier.logits.weight"])
    session.phases = session.phases[:1]
    session.run()
    after = session.model.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        "classifier.logits.weight",
        "classifier.logits.bias",
    }


def test_then_everything_learns_norms_included():
    model = classifiers.classifier("small", 2)
    objective = ClassObjective(model, classifiers.last_layer(model), last_only=True).train()
    assert not any(module.training for module in model.features.modules())
    assert [name for name, p in model.named_parameters() if p.requires_grad] == [
        "classifier.logits.weight",
        "classifier.logits.bias",
    ]
    objective = ClassObjective(model, classifiers.last_layer(model), last_only=False).train()
    assert all(module.training for module in objective.modules())
    assert all(p.requires_grad for p in model.parameters())


def test_torchvisions_own_classifier_is_what_its_networks_are_trained_as(folder, tmp_path):
    out = tmp_path / "r18.pth"
    prepared = prepare(folder, out, backbone="resnet18", weights="none", epochs=1, batch=20)
    assert prepared.settings.frozen_epochs == 0
    prepared.session.run()
    body = NETWORKS["resnet18"](None)
    report = load_backbone_weights(body, "resnet18", out)
    assert (report.kept, report.skipped) == ((), ("fc.weight", "fc.bias"))


def words(settings):
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def test_the_command_trains_on_cifar10_and_tells_each_epoch(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name, count in (("data_batch_1", 24), ("test_batch", 8)):
        labels = [n % 2 for n in range(count)]
        data = rng.integers(0, 100, (count, 3072)) + 100 * np.array(labels)[:, None]
        (tmp_path / name).write_bytes(pickle.dumps({"data": data.astype(np.uint8), "labels": labels}, 2))
    out = tmp_path / "deep" / "cifar.safetensors"
    assert main(["pretrain", str(tmp_path), "--out", str(out), *words(QUICK | {"epochs": 2}), "--device", "cpu"]) == 0
    output = capsys.readouterr()
    assert "24 pictures to learn from, 8 to measure by, 10 classes" in output.out
    assert "small at 32 pixels: random weights" in output.out
    assert len(re.findall(r"^epoch \d  train loss .* accuracy [01]\.\d{3}", output.err, re.MULTILINE)) == 2
    assert f"--backbone-weights {out}" in output.out
    assert out.exists()


def test_ctrl_c_is_told_in_one_line_and_resume_ends_it(folder, tmp_path, capsys, monkeypatch):
    out = tmp_path / "small.safetensors"
    line = ["pretrain", str(folder), "--out", str(out), *words(QUICK), "--device", "cpu"]
    stepped = Recorder(stop_after=3).stepped
    monkeypatch.setattr("rcnn.cli.pretrain.PretrainingProgress.stepped", lambda self, *step: stepped(*step))
    assert main(line) == 130
    assert "go on with --resume" in capsys.readouterr().err
    assert main(line) == 2
    assert "exists; pass --resume" in capsys.readouterr().err
    assert main([*line, "--seed", "7", "--resume"]) == 2
    assert "--resume: --seed is 7, but it began with 0" in capsys.readouterr().err
    assert main([*line, "--resume"]) == 0
    assert "as it was left" in capsys.readouterr().out
    assert main([*line, "--resume"]) == 0
    assert capsys.readouterr().out == f"done: {out} is finished already; --overwrite begins anew\n"
    assert main([*line, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{tmp}/nowhere", "nowhere: no such folder"),
        ("{tmp}", "give one that holds a folder of pictures for each class"),
        ("{data} --out {tmp}/a.bin", "a.bin: give the name of a file that ends in .safetensors or .pth"),
        ("{data} --backbone vgg17", "--backbone vgg17: no backbone 'vgg17' (did you mean vgg19?)"),
        ("{data} --backbone zf --weights {tmp}/none.pth", "none.pth: no such file"),
        ("{data} --epochs 0", "--epochs 0: should be greater than 0"),
        ("{data} --batch 1", "--batch 1: should be greater than or equal to 2"),
        ("{data} --backbone alexnet --weights none --size 32", "--size 32: too small for alexnet"),
        ("{data} --device gpu", "--device gpu: no such device here"),
        ("{data} --resume", "no such file, so there is nothing to go on with"),
        ("{data} --resume --overwrite", "--resume and --overwrite: give one of them"),
        ("{data} --backbone resnet18 --weights {small}", "fits 0 of"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing_behind(line, message, folder, tmp_path, trained, capsys):
    given = line.format(data=folder, tmp=tmp_path, small=trained[0]).split()
    assert main(["pretrain", *(["--out", str(tmp_path / "x.pth")] if "--out" not in given else []), *given]) == 2
    error = capsys.readouterr().err
    assert error.startswith("rcnn: ")
    assert message in error
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_resume_on_other_pictures_is_refused(folder, tmp_path):
    out = tmp_path / "small.safetensors"
    with pytest.raises(Stopped):
        prepare(folder, out, Recorder(stop_after=2)).session.run()
    other = tmp_path / "other"
    for name in ("blue", "green", "red"):
        (other / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (32, 32)).save(other / name / f"{number}.png")
    with pytest.raises(Exception, match="has other pictures than when it began"):
        prepare(other, out, resume=True)


def test_a_broken_picture_is_named_before_training(folder, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (32, 32)).save(tmp_path / name / "1.png")
        Image.new("RGB", (32, 32)).save(tmp_path / name / "2.png")
    (tmp_path / "b" / "2.png").write_bytes(b"junk")
    with pytest.raises(Exception, match=r"2.png: not a picture"):
        prepare(tmp_path, tmp_path / "x.pth")


def test_what_is_left_open_is_decided_by_network_and_data(folder, tmp_path, trained):
    open_ones = {"size": 32, "precision": "fp32"}
    new = prepare_pretraining(folder, tmp_path / "a.pth", Recorder(), open_ones | {"backbone": "small"}, device="cpu")
    assert (new.settings.lr, new.settings.frozen_epochs, new.settings.epochs) == (1e-3, 0, 10)
    assert [phase.lr for phase in new.session.phases] == [1e-3, 1e-3]
    tuned = prepare(folder, tmp_path / "b.pth", weights=str(trained[0]))
    assert tuned.settings.frozen_epochs == 2
    assert [phase.lr for phase in tuned.session.phases] == pytest.approx([3e-3, 3e-4])


def test_every_backbone_can_be_a_classifier():
    with torch.device("meta"):
        for name in set(NETWORKS) - {"alexnet", "caffenet", "vgg-m", "vgg16", "zf"}:
            assert isinstance(classifiers.last_layer(classifiers.classifier(name, 4)), nn.Linear)
