"""A run that begins from another: whose weights, whose settings, and which rows of its head (USERS.md 21)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import COLOURS, Silent, prepare, shape_data, tiny_config, write_voc
from method_variants import SVMS
from torchvision.models import detection as tv

import rcnn
from rcnn import api, build
from rcnn.api.transfer import Kept, Source, match_classes, read_source, transfer
from rcnn.cli import main
from rcnn.cli.progress import show_plan
from rcnn.compat.torchvision import CONFIGS, WEIGHTS, from_state
from rcnn.errors import ConfigError, WeightsError
from rcnn.presets.overrides import override
from rcnn.sample import DataSet


def renamed(dataset, **names):
    """The data set with other class names."""
    splits = {
        split: [replace(sample, names=tuple(names.get(name, name) for name in sample.names)) for sample in part]
        for split, part in dataset.splits.items()
    }
    return replace(
        dataset, splits=splits, class_names=tuple(sorted({*names.values()} | set(dataset.class_names) - {*names}))
    )


def begin(data, out, source, config=None, **options):
    return api.prepare_training(data, out, Silent(), config, start_from=source, device="cpu", **options)


def test_classes_are_matched_to_the_letter_first_then_but_for_case():
    rows = match_classes(["dog", "Cat", "cow", "bird"], ["Dog", "cat", "CAT", "dog", "unused 1"])
    assert rows == [
        Kept("dog", "kept", "dog"),
        Kept("Cat", "kept", "cat"),
        Kept("cow", "new"),
        Kept("bird", "new"),
        Kept("Dog", "dropped"),
        Kept("CAT", "dropped"),
        Kept("unused 1", "dropped"),
    ]


def test_pain_21_pretrained_heads_keep_the_rows_of_classes_of_the_same_name(run, tmp_path):
    data = renamed(shape_data(2, 1), disc="ball", square="Square")
    data = replace(data, class_names=("Square", "ball"))  # in another order than there
    prepared = begin(data, tmp_path / "new", run)
    old, new = read_source(run), prepared.workshop.model.state_dict()
    assert old.class_names == ("disc", "square")
    assert prepared.transferred == (Kept("Square", "kept", "square"), Kept("ball", "new"), Kept("disc", "dropped"))
    score, box = "head.cls_score.weight", "head.bbox_pred.bias"
    assert torch.equal(new[score][:2], old.tensors[score][[0, 2]])
    assert torch.equal(new[box][:8], old.tensors[box].unflatten(0, (3, 4))[[0, 2]].flatten())
    assert not torch.equal(new[score][2], old.tensors[score][1])
    same = [name for name in new if not name.startswith(("head.cls", "head.bbox"))]
    assert all(torch.equal(new[name], old.tensors[name]) for name in same)


def test_the_settings_are_those_of_the_run_unless_others_are_given(run, tmp_path):
    data = shape_data(2, 1)
    assert begin(data, tmp_path / "a", run).config == api.stored_config(run)
    other = override(api.stored_config(run), None, ["training.epochs=5", "model.head.samples=8"], {})
    assert begin(data, tmp_path / "b", run, other).config == other


def test_the_same_classes_begin_as_the_very_same_network(run, tmp_path, voc):
    prepared = begin(voc, tmp_path / "a", run)
    old = read_source(run).tensors
    assert all(torch.equal(value, old[name]) for name, value in prepared.workshop.model.state_dict().items())


@pytest.mark.parametrize(
    ("sets", "problem"),
    [
        (["model.backbone=resnet18"], "model.backbone is resnet18 here and small there"),
        (["model.channels=24"], "model.channels is 24 here and 16 there"),
        (["input.channels=1"], "input.channels is 1 here and 3 there"),
        (["model.head.widths=[8]"], r"model.head.widths is \[8\] here and \[32, 32\] there"),
    ],
)
def test_a_network_of_another_form_is_refused_in_a_line(run, tmp_path, sets, problem):
    config = override(api.stored_config(run), None, sets, {})
    data = shape_data(2, 1)
    if config.input.channels == 1:
        splits = {n: [replace(s, picture=s.picture[..., :1]) for s in part] for n, part in data.splits.items()}
        data = DataSet(splits, data.class_names)
    with pytest.raises(ConfigError, match=problem) as caught:
        begin(data, tmp_path / "new", run, config)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_backbones_weights_beside_a_run_are_refused(run, tmp_path):
    with pytest.raises(ConfigError, match=r"--backbone-weights w.pth: --from brings all weights"):
        begin(shape_data(2, 1), tmp_path / "new", run, backbone_weights="w.pth")


def test_what_is_no_run_is_told(tmp_path):
    with pytest.raises(WeightsError, match="nowhere"):
        begin(shape_data(2, 1), tmp_path / "new", tmp_path / "nowhere")


def test_rows_of_svms_and_ridge_go_along():
    names = ("a", "b", "c")
    config = override(tiny_config(), None, (), SVMS | {"model.method": "fast-rcnn", "model.head.measured_boxes": True})
    torch.manual_seed(0)
    old, _ = build.detector(config, 3)
    old.head.box_mean.normal_()
    new, _ = build.detector(config, 2)
    rows = transfer(new, config, ("c", "A"), Source("old", config, names, old.state_dict()))
    assert [row.before for row in rows] == ["c", "a", ""]
    ours, theirs = new.state_dict(), old.state_dict()
    assert torch.equal(ours["head.svm.weight"], theirs["head.svm.weight"][[2, 0]])
    assert torch.equal(ours["head.box_mean"], theirs["head.box_mean"][[0, 3, 1]])
    ridge = theirs["head.ridge.weight"].unflatten(0, (3, 4))[[2, 0]].flatten(0, 1)
    assert torch.equal(ours["head.ridge.weight"], ridge)


def test_torchvisions_person_moves_to_a_users_person(monkeypatch):
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    torch.manual_seed(0)
    theirs = getattr(tv, name)(weights=None, weights_backbone=None, num_classes=91)
    model, class_names = from_state(name, theirs.state_dict())
    source = Source(f"torchvision:{name}", CONFIGS[name], class_names, model.state_dict())
    new, _ = build.detector(CONFIGS[name], 2)
    rows = transfer(new, CONFIGS[name], ("Person", "shoe box"), source)
    assert rows[:2] == [Kept("Person", "kept", "person"), Kept("shoe box", "new")]
    number = WEIGHTS[name].meta["categories"].index("person")
    logits = theirs.roi_heads.box_predictor.cls_score.weight
    assert torch.equal(new.head.cls_score.weight[:2], logits[[0, number]])
    assert torch.equal(new.rpn.head.cls_logits.bias, theirs.rpn.head.cls_logits.bias)


def test_the_command_prints_the_table_and_the_run_goes_on(run, tmp_path, capsys, quiet_log):
    data = write_voc(tmp_path / "data", renamed(shape_data(2, 1, 1), disc="ball", square="Square"))
    words = ["train", str(data), "--out", str(tmp_path / "new"), "--from", str(run), "--device", "cpu"]
    words.append("--no-report")
    assert main([*words, "--epochs", "1"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "class head rows Square kept (there: square) ball new dropped disc" in printed
    assert main(["train", str(data), "--out", str(tmp_path / "new"), "--resume", "--no-report", "--device", "cpu"]) == 0
    assert main([*words[:4], "--resume", "--from", str(tmp_path), "--device", "cpu"]) == 2
    assert "--from is" in capsys.readouterr().err


def test_python_takes_it_too(run, tmp_path):
    settings = {"epochs": 1}
    out = tmp_path / "new"
    detector = rcnn.train(shape_data(2, 0), out, settings=settings, start_from=run, val_split="none", device="cpu")
    assert detector.class_names == tuple(COLOURS)
    assert api.stored_config(out).model == api.stored_config(run).model


def test_pain_26_nothing_is_frozen_silently(tmp_path, capsys, quiet_log):
    """USERS.md 26: what learns, what does not, and which norm was chosen, is printed before training."""
    config = override(tiny_config(), None, (), {"model.frozen_stages": 2, "model.norm": "auto"})
    show_plan(prepare(shape_data(2, 1), tmp_path / "run", config))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "norm group norm, learning (model.norm=group)" in lines
    assert "frozen stem, stage1, stage2 (model.frozen_stages=2 of 4)" in lines
    backbone = next(line for line in lines if line.startswith("backbone -"))
    learning, frozen = (int(word.replace(",", "")) for word in backbone.split()[-2:])
    body = build.detector(build.resolved(config, False), 2)[0].backbone.body
    counted = [sum(p.numel() for p in body.parameters() if p.requires_grad is wanted) for wanted in (True, False)]
    assert [learning, frozen] == counted
    assert np.prod(counted) > 0
