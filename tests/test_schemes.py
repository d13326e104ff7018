"""Which parts of a model move in which stage, from where, on whose proposals, how long and how fast."""

import signal
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import TINY, Silent, prepare, rows_of, shape_data
from torch import nn

from rcnn import api, build
from rcnn.config import TrainingSettings
from rcnn.data.loader import Batches, TruthBatch
from rcnn.methods import FastRCNN
from rcnn.presets.overrides import override, preset
from rcnn.proposals.files import read_proposals
from rcnn.runs.tensors import read_tensors
from rcnn.sample import DataSet
from rcnn.training.loop import Progress, Trainer
from rcnn.training.optim import OptimizerSettings, make_optimizer
from rcnn.training.schemes import Length
from rcnn.training.session import Stopped
from rcnn.training.staged import only, still

SVMS = {"model.neck": "none", "model.head.classifier": "svm", "model.head.ridge": True, "model.head.box_loss": 0.0}
SPP = SVMS | {"model.method": "sppnet", "model.head.bins": [1, 2], "model.norm": "batch", "model.head.dropout": 0.5}
FAST = {"model.method": "fast-rcnn"}
FOUR = {"training.scheme": "4-step"}
STAGE_WISE = FAST | {"training.scheme": "stage-wise", "model.head.dropout": 0.5}


def config_of(settings):
    return override(preset("demo"), None, (), TINY | {"training.epochs": 1, "training.flip": 0.0} | settings)


def data_of(train=3):
    data = shape_data(train, 0)
    shift = np.array([[0, 0, 0, 0], [2, 1, 3, 2], [-4, 2, -1, 5], [15, 12, 15, 12]], np.float32)
    boxes = [np.concatenate([np.clip(box + shift, 0, 64) for box in sample.boxes]) for sample in data.splits["train"]]
    samples = [replace(sample, proposals=own) for sample, own in zip(data.splits["train"], boxes, strict=True)]
    return DataSet({"train": samples}, data.class_names)


class Snapshots(Silent):
    """A listener that keeps the model's weights as they are at the beginning of each stage."""

    def __init__(self):
        self.taken, self.training = {}, None

    def stage_started(self, name, number, stages):
        self.taken[name] = self.now()

    def now(self):
        return {key: value.clone() for key, value in self.training.model.state_dict().items()}


def trained(tmp_path, settings, train=3):
    """A run, and the weights at the beginning of each stage and at the end."""
    listener = Snapshots()
    prepared = prepare(data_of(train), tmp_path / "run", config_of(settings), listener, val_split="none")
    listener.training = prepared.training
    prepared.training.run()
    listener.taken["end"] = listener.now()
    return prepared, listener.taken


def moved_parts(before, after):
    """The first two words of the names of all tensors that differ."""
    return {".".join(key.split(".")[:2]) for key in before if not torch.equal(before[key], after[key])}


HEAD = {"head.layers", "head.cls_score", "head.bbox_pred"}
BACKBONE = {"backbone.body", "backbone.fpn"}
RPN = {"rpn.head"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [BACKBONE | RPN | HEAD]),
        ({"training.scheme": "exact-joint"}, [BACKBONE | RPN | HEAD]),
        (FAST, [BACKBONE | HEAD]),
        (FAST | {"model.head.box_loss": 0.0, "model.detections.refine": False}, [BACKBONE | HEAD - {"head.bbox_pred"}]),
        (STAGE_WISE, [BACKBONE | HEAD - {"head.bbox_pred"}, {"head.bbox_pred"}]),
        (FOUR, [BACKBONE | RPN, BACKBONE | HEAD, RPN, HEAD]),
        (
            FAST | {"model.head.classifier": "svm"},
            [BACKBONE | HEAD, {"head.svm"}],
        ),
        (SPP, [{"head.layers", "head.cls_score"}, {"head.svm"}, {"head.ridge"}]),
        (
            SVMS | {"model.method": "rcnn", "model.head.crop": 32, "model.head.pool": 2, "model.head.context": 2},
            [{"backbone.body", "head.layers", "head.cls_score"}, {"head.svm"}, {"head.ridge"}],
        ),
    ],
    ids=["joint", "exact", "multi-task", "classes alone", "stage-wise", "4-step", "svms", "sppnet", "rcnn"],
)
def test_each_stage_moves_its_parts_and_nothing_else(tmp_path, settings, expected):
    _, taken = trained(tmp_path, settings)
    points = list(taken.values())
    assert [moved_parts(before, after) for before, after in pairwise(points)] == expected


@pytest.mark.parametrize("settings", [{}, FAST, FOUR], ids=["joint", "multi-task", "4-step"])
def test_frozen_stages_never_move(tmp_path, settings):
    prepared, taken = trained(tmp_path, settings | {"model.frozen_stages": 2, "model.norm": "batch"})
    points = list(taken.values())
    parts = tuple(f"backbone.body.{name}." for name in prepared.training.model.backbone.body.frozen)
    tensors = [name for name in points[0] if name.startswith(parts)]
    assert any("running_mean" in name for name in tensors)
    for before, after in pairwise(points):
        assert all(torch.equal(before[name], after[name]) for name in tensors)
    assert "backbone.body" in moved_parts(points[0], points[-1]), "the later stages do"


def beginning(tmp_path, settings, stage):
    """The weights that a stage begins with, after parts of it were made fresh; and those of all stages before."""
    listener = Snapshots()

    def stepped(progress, lr):
        if listener.training.session.stage == stage:
            raise InterruptedError

    prepared = prepare(data_of(), tmp_path / "run", config_of(settings), listener, val_split="none")
    initial = {key: value.clone() for key, value in prepared.training.model.state_dict().items()}
    listener.training, listener.stepped = prepared.training, stepped
    with pytest.raises(InterruptedError):
        prepared.training.run()
    saved = {k.removeprefix("model/"): v for k, v in read_tensors(tmp_path / "run" / "last.safetensors")[0].items()}
    return initial, listener.taken, saved


@pytest.mark.parametrize(("stage", "fresh", "kept"), [("2-detector", "backbone", "rpn"), ("3-rpn", "rpn", "backbone")])
def test_fresh_parts_begin_from_where_training_began(tmp_path, stage, fresh, kept):
    initial, taken, saved = beginning(tmp_path, FOUR, stage)
    before = taken[stage]
    for name, value in initial.items():
        if name.startswith(fresh):
            assert torch.equal(saved[name], value), name
        elif name.startswith(kept):
            assert torch.equal(saved[name], before[name]), name
    assert any(not torch.equal(before[name], initial[name]) for name in initial if name.startswith(fresh))
    assert any(not torch.equal(before[name], initial[name]) for name in initial if name.startswith(kept))


def model_of(config, weights):
    model, _ = build.detector(config, 2)
    model.load_state_dict(weights)
    return model.eval()


def batch_of(config, samples):
    batches = Batches(samples, ("disc", "square"), build.preprocess(config.input), len(samples), shuffle=False)
    return next(batches.epoch(1)).batch


@pytest.mark.parametrize("stage", ["2-detector", "4-detector"])
def test_a_detector_learns_from_what_the_network_before_it_proposed_with_the_limits_of_training(tmp_path, stage):
    limits = {"before": 3, "after": 2, "train_before": 60, "train_after": 20}
    prepared, taken = trained(tmp_path, FOUR | {f"model.rpn.{name}": value for name, value in limits.items()})
    table = read_proposals(tmp_path / "run" / f"proposals-{stage}.safetensors")
    samples, config = data_of().splits["train"], prepared.config
    batch, model = batch_of(config, samples), model_of(config, taken[stage])
    with torch.no_grad():
        proposals = model.rpn(model.features(batch.images), batch, build.training_limits(config.model))
    assert proposals.valid.sum(1).max() == 20
    to_original = (batch.original_sizes / batch.sizes).flip(1).repeat(1, 2)
    for place, sample in enumerate(samples):
        expected = proposals.boxes[place][proposals.valid[place]] * to_original[place]
        torch.testing.assert_close(torch.from_numpy(table.boxes[sample.id]), expected, rtol=1e-4, atol=1e-2)


def test_after_four_steps_one_network_does_what_the_two_trained_ones_did(tmp_path):
    prepared, taken = trained(tmp_path, FOUR | {"training.epochs": 2, "model.detections.score": 0.01})
    config = prepared.config
    proposing, detecting = model_of(config, taken["4-detector"]), model_of(config, taken["end"])  # of steps 3 and 4
    batch = batch_of(config, data_of().splits["train"])
    alone = FastRCNN(detecting.backbone, detecting.pool, detecting.head, detecting.postprocess)
    with torch.inference_mode():
        proposals = proposing.rpn(proposing.features(batch.images), batch, proposing.limits)
        expected = alone(replace(batch, proposals=proposals))
    shared = api.load(tmp_path / "run", "cpu").detect(batch)
    assert shared.valid.any()
    assert torch.equal(shared.boxes, expected.boxes)
    assert torch.equal(shared.scores, expected.scores)
    assert torch.equal(shared.labels, expected.labels)


def test_sppnets_norms_keep_their_statistics_and_those_of_a_tuned_network_do_not(tmp_path):
    _, taken = trained(tmp_path / "spp", SPP)
    statistics = [name for name in taken["fine-tune"] if "running_" in name or "num_batches" in name]
    assert len(statistics) > 5
    assert all(torch.equal(taken["fine-tune"][name], taken["end"][name]) for name in statistics)
    _, taken = trained(tmp_path / "fast", FAST | {"model.norm": "batch"})
    assert any(
        not torch.equal(taken["multi-task"][name], taken["end"][name]) for name in taken["end"] if "running_" in name
    )


def test_what_is_frozen_is_in_evaluation_mode_down_to_the_layers_of_a_head_that_trains_in_part():
    model = nn.ModuleDict(
        {
            "backbone": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)),
            "head": nn.ModuleDict({"convs": nn.BatchNorm2d(2), "dropout": nn.Dropout(), "bbox_pred": nn.Linear(2, 2)}),
        }
    )
    assert still(model, ("head.bbox_pred",)) == [model["backbone"], model["head"]["convs"], model["head"]["dropout"]]
    assert still(model, ("head",)) == still(model, ("head.",)) == [model["backbone"]]
    assert still(model, ("",)) == []
    assert still(model, ("backbone", "head")) == []
    assert still(model, ("backbone.1",)) == [model["backbone"][0], model["head"]]


def test_dropout_is_off_in_the_frozen_layers_of_the_second_stage_alone(tmp_path):
    modes = {}

    class Watch(Snapshots):
        def stepped(self, progress, lr):
            modes[self.training.session.stage] = self.training.model.head.dropout.training

    listener = Watch()
    prepared = prepare(data_of(), tmp_path / "run", config_of(STAGE_WISE), listener, val_split="none")
    listener.training = prepared.training
    prepared.training.run()
    assert modes == {"classes": True, "boxes": False}


def test_only_gives_every_parameter_back_as_it_was():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].bias.requires_grad_(False)
    before = [p.requires_grad for p in model.parameters()]
    with only(model, ("1.",)):
        assert [p.requires_grad for p in model.parameters()] == [False, False, True, False]
    assert [p.requires_grad for p in model.parameters()] == before


def test_a_stage_is_as_long_as_its_epochs_or_as_enough_epochs_for_its_iterations():
    assert Length(7).epochs_of(100) == 7
    assert [Length(7, iterations).epochs_of(100) for iterations in (1, 100, 101, 250)] == [1, 1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "epochs", "pictures"),
    [
        ({"epochs": 2}, [2, 2, 2, 2], 2),
        ({"epochs": 2, "rpn_epochs": 3}, [3, 2, 3, 2], 2),
        ({"iterations": 3}, [2, 2, 2, 2], 2),
        ({"iterations": 4, "rpn_iterations": 2}, [1, 2, 1, 2], 2),
        ({"iterations": 4, "rpn_epochs": 3}, [3, 2, 3, 2], 2),
        ({"epochs": 1, "rpn_batch": 1}, [1, 1, 1, 1], 1),
    ],
)
def test_the_stages_of_the_rpn_may_have_a_length_and_a_batch_of_their_own(tmp_path, settings, epochs, pictures):
    given = {f"training.{name}": value for name, value in ({"scheme": "4-step"} | settings).items()}
    trained(tmp_path, given, train=4)
    rows = rows_of(tmp_path / "run")
    names = ["1-rpn", "2-detector", "3-rpn", "4-detector"]
    assert [max(row["epoch"] for row in rows if row["stage"] == name) for name in names] == epochs
    steps = [max(row["step"] for row in rows if row["stage"] == name) for name in names]
    assert steps == [count * 4 // (pictures if "rpn" in name else 2) for count, name in zip(epochs, names, strict=True)]


def test_the_rate_is_scaled_to_the_pictures_that_a_step_of_the_stage_sees(tmp_path):
    settings = FOUR | {"training.optimizer": "sgd", "training.lr": 0.16, "training.rpn_batch": 1, "training.warmup": 0}
    trained(tmp_path, settings | {"training.schedule": "step", "training.drops": []})
    rates = {row["stage"]: row["lr"] for row in rows_of(tmp_path / "run")}
    assert rates == pytest.approx({"1-rpn": 0.01, "2-detector": 0.02, "3-rpn": 0.01, "4-detector": 0.02})


class TwoLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(2, 2)
        self.head = nn.ModuleDict({"cls_score": nn.Linear(2, 2), "bbox_pred": nn.Linear(2, 2)})


def test_biases_and_the_new_layer_have_rates_and_a_decay_of_their_own():
    settings = OptimizerSettings("sgd", 0.01, 0.9, 5e-4, bias_lr=2.0, bias_decay=False, new_lr=10.0)
    model = TwoLayers()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(p)]: (group["factor"], group["lr"], group["weight_decay"])
        for group in make_optimizer(model, settings).param_groups
        for p in group["params"]
    }
    for name, (factor, rate, decay) in found.items():
        wanted = (2 if name.endswith("bias") else 1) * (10 if "cls_score" in name else 1)
        assert (factor, rate) == (wanted, pytest.approx(0.01 * wanted)), name
        assert decay == (0 if name.endswith("bias") else 5e-4), name
    assert len(found) == 6


def test_the_rates_of_a_step_keep_their_proportions():
    model = TwoLayers()
    optimizer = make_optimizer(model, OptimizerSettings("sgd", 1.0, 0.0, 0.0, bias_lr=2.0, new_lr=10.0))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    trainer = Trainer(model, optimizer, build.schedule(TrainingSettings(warmup=0), 10), 0.1, torch.device("cpu"))
    trainer._move(Progress(), object.__new__(TruthBatch))
    moves = {name: float((before[name] - p.detach()).mean()) for name, p in model.named_parameters()}
    assert moves["backbone.weight"] == pytest.approx(0.1, rel=1e-4)
    assert moves["backbone.bias"] == pytest.approx(0.2, rel=1e-4)
    assert moves["head.cls_score.weight"] == pytest.approx(1.0, rel=1e-4)
    assert moves["head.cls_score.bias"] == pytest.approx(2.0, rel=1e-4)


def test_a_stage_that_is_asked_to_stop_at_its_very_end_does_not_let_the_next_one_begin(tmp_path):
    class Late(Snapshots):
        def epoch_ended(self, rows, best):
            signal.raise_signal(signal.SIGINT)

    data, config, listener = data_of(), config_of(STAGE_WISE), Late()
    prepared = prepare(data, tmp_path / "run", config, listener, val_split="none")
    listener.training = prepared.training
    with pytest.raises(Stopped, match="stopped after stage classes; the state is saved, go on with --resume"):
        prepared.training.run()
    prepare(data, tmp_path / "run", config, val_split="none", resume=True).training.run()
    assert [row["stage"] for row in rows_of(tmp_path / "run")] == ["classes", "boxes"]
