"""Training: what moves the weights, how fast, what is kept, and what stops it."""

import math

import numpy as np
import pytest
import torch
from conftest import COLOURS, Silent, prepare, rows_of, shape_data, shape_sample, tiny_config
from torch import nn

from rcnn import api, build
from rcnn.config import TrainingSettings
from rcnn.errors import TrainingError
from rcnn.runs import read_metadata
from rcnn.runs.tensors import read_tensors, write_tensors
from rcnn.sample import DataSet, Sample
from rcnn.structures import Targets
from rcnn.training.checkpoint import model_tensors, pack, unpack
from rcnn.training.journal import Journal
from rcnn.training.loop import Progress, Trainer, validation_losses
from rcnn.training.optim import OptimizerSettings, Schedule, make_optimizer
from rcnn.training.session import Session

LOSSES = {"rpn_score", "rpn_box", "score", "box"}


class Recorder(Silent):
    """A listener that keeps what it is told."""

    def __init__(self):
        self.ended = []

    def epoch_ended(self, rows, best):
        self.ended.append(([row["split"] for row in rows], best))


def weights_of(session: Session) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in session.model.state_dict().items()}


def equal(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_losses_fall(tmp_path):
    prepared = prepare(shape_data(4, 0), tmp_path / "run", tiny_config(epochs=12, warmup=3), val_split="none")
    prepared.training.run()
    losses = [row["loss"] for row in rows_of(tmp_path / "run")]
    assert len(losses) == 12
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


def test_the_same_seed_gives_the_same_weights_and_another_one_does_not(tmp_path):
    weights = []
    for number, seed in enumerate((0, 0, 1)):
        prepared = prepare(shape_data(2, 0), tmp_path / str(number), tiny_config(epochs=1, seed=seed), val_split="none")
        torch.manual_seed(number)  # what happens outside does not matter
        prepared.training.run()
        weights.append(weights_of(prepared.training))
    assert equal(weights[0], weights[1])
    assert not equal(weights[0], weights[2])


@pytest.mark.parametrize(("pictures", "moves"), [(8, 2), (7, 2), (5, 2), (4, 1), (1, 1)])
def test_gradients_add_up_over_batches_and_the_last_ones_count_too(tmp_path, pictures, moves):
    config = tiny_config(epochs=1, batch=2, accumulate=2)
    prepared = prepare(shape_data(pictures, 0), tmp_path / "run", config, val_split="none")
    prepared.training.run()
    assert rows_of(tmp_path / "run")[-1]["step"] == moves
    assert prepared.training.session.trainer.schedule.steps == moves


class MeanObjective(nn.Module):
    """A loss that is a mean over the pictures, so that two halves weigh as much as the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, batch, targets):
        return {"mean": (batch.images.mean(dim=(2, 3)) @ self.weight).square().mean()}


@pytest.mark.parametrize("clip", [0.0, 1e-3])
def test_two_batches_of_two_move_the_weights_like_one_of_four(tmp_path, clip):
    moved = []
    for batch, accumulate in ((4, 1), (2, 2)):
        out, config = tmp_path / str(batch), tiny_config(batch=batch)
        batches = prepare(shape_data(4, 0), out, config, val_split="none").training.session.train
        objective = MeanObjective()
        optimizer = torch.optim.SGD(objective.parameters(), 0.1)
        trainer = Trainer(objective, optimizer, Schedule(1, 0, ()), 0.1, torch.device("cpu"), False, accumulate, clip)
        trainer.run(batches.epoch(1), len(batches), Progress(), lambda progress, lr: False)
        moved.append(objective.weight.detach() - 1)
    assert torch.allclose(moved[0], moved[1], rtol=1e-4)
    assert moved[0].norm() > 0
    if clip:
        assert moved[0].norm() == pytest.approx(0.1 * clip, rel=1e-3)


def test_the_rate_warms_up_then_drops():
    schedule = Schedule(100, 10, (0.5, 0.9))
    factors = [schedule.factor(step) for step in (0, 4, 9, 10, 49, 50, 89, 90, 99)]
    assert factors == pytest.approx([0.1, 0.5, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_the_rate_follows_a_cosine_to_nearly_zero():
    schedule = Schedule(100, 0, None)
    assert [schedule.factor(step) for step in (0, 50, 100)] == pytest.approx([1, 0.5, 0])
    assert all(schedule.factor(step) > schedule.factor(step + 1) for step in range(100))


def test_a_short_run_warms_up_for_half_of_it_at_most():
    assert build.schedule(TrainingSettings(warmup=50), 20).warmup == 10
    assert build.schedule(TrainingSettings(warmup=50), 200).warmup == 50
    assert build.schedule(TrainingSettings(warmup=50), 1).factor(0) == 1


def test_the_rate_of_sgd_is_scaled_to_the_pictures_of_a_step_and_that_of_adamw_is_not():
    def rate(**settings):
        return build.optimizer_settings(TrainingSettings(lr=0.02, **settings)).lr

    assert rate(batch=16) == 0.02
    assert rate(batch=4) == pytest.approx(0.005)
    assert rate(batch=4, accumulate=2) == pytest.approx(0.01)
    assert rate(batch=4, optimizer="adamw") == 0.02


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_frozen_weights_are_not_the_optimizers(name):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model[0].requires_grad_(False)
    optimizer = make_optimizer(model, OptimizerSettings(name, 0.1, 0.9, 0.0))
    assert [p.shape for group in optimizer.param_groups for p in group["params"]] == [(1, 2), (1,)]


def test_each_epoch_leaves_two_lines_of_metrics(tmp_path):
    prepare(shape_data(3, 2), tmp_path / "run", tiny_config(epochs=2)).training.run()
    rows = rows_of(tmp_path / "run")
    assert [(row["epoch"], row["split"], row["step"]) for row in rows] == [
        (1, "train", 2),
        (1, "val", 2),
        (2, "train", 4),
        (2, "val", 4),
    ]
    for row in rows:
        assert row["losses"].keys() == LOSSES
        assert row["loss"] == pytest.approx(sum(row["losses"].values()))
    common = {"stage", "epoch", "step", "split", "loss", "losses"}
    assert rows[0].keys() == common | {"lr", "images_per_second", "seconds", "seconds_waiting_for_data"}
    assert rows[1].keys() == common | {"AP", "AP50"}
    assert 0 <= rows[0]["seconds_waiting_for_data"] <= rows[0]["seconds"]
    assert rows[2]["lr"] < rows[0]["lr"]


def test_the_best_epoch_is_kept_beside_the_last(tmp_path):
    recorder = Recorder()
    session = prepare(shape_data(2, 1), tmp_path / "run", tiny_config(epochs=4), recorder).training.session
    scores, kept = iter([0.1, 0.5, 0.3, 0.5]), []
    session.evaluate = lambda: kept.append(weights_of(session)) or {"AP": next(scores), "AP50": 0.6}
    session.run()
    assert [best for _, best in recorder.ended] == [True, True, False, False]
    best, metadata = read_tensors(session.folder.best)
    assert equal(kept[1], best)
    last, _ = read_tensors(session.folder.last)
    assert equal(kept[3], model_tensors(last))
    assert metadata["class_names"] == list(COLOURS)
    assert read_metadata(session.folder.last)["best"] == 0.5


def test_without_validation_the_newest_is_the_best(tmp_path):
    recorder = Recorder()
    prepared = prepare(shape_data(2, 0), tmp_path / "run", tiny_config(), recorder, val_split="none")
    prepared.training.run()
    assert recorder.ended == [(["train"], True), (["train"], True)]
    best, _ = read_tensors(prepared.training.folder.best)
    assert equal(weights_of(prepared.training), best)


def test_validation_without_any_object_leaves_no_scores_and_keeps_the_newest(tmp_path):
    data = DataSet(shape_data(2, 0).splits | {"val": [shape_sample("v", objects=0)]}, tuple(COLOURS))
    recorder = Recorder()
    prepare(data, tmp_path / "run", tiny_config(), recorder).training.run()
    assert [best for _, best in recorder.ended] == [True, True]
    assert all("AP" not in row for row in rows_of(tmp_path / "run"))
    assert "NaN" not in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_validation_changes_neither_weights_nor_chance(tmp_path):
    session = prepare(shape_data(2, 2), tmp_path / "run", tiny_config()).training.session
    before, state = weights_of(session), torch.get_rng_state()
    first = validation_losses(session.trainer.objective, session.val.epoch(0), torch.device("cpu"), Progress())
    scores = session.evaluate()
    assert first == validation_losses(session.trainer.objective, session.val.epoch(0), torch.device("cpu"), Progress())
    assert scores.keys() <= {"AP", "AP50"}
    assert equal(before, weights_of(session))
    assert torch.equal(state, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in session.model.parameters())


def test_validation_does_not_change_what_is_learned(tmp_path):
    weights = []
    for number, val in enumerate(("val", "none")):
        prepared = prepare(shape_data(2, 1), tmp_path / str(number), tiny_config(), val_split=val)
        prepared.training.run()
        weights.append(weights_of(prepared.training))
    assert equal(*weights)


def test_a_batch_without_any_object_is_learned_from(tmp_path):
    data = DataSet({"train": [shape_sample(f"e{i}", objects=0) for i in range(2)]}, tuple(COLOURS))
    prepared = prepare(data, tmp_path / "run", tiny_config(epochs=1), val_split="none")
    prepared.training.run()
    (row,) = rows_of(tmp_path / "run")
    assert row["losses"]["box"] == row["losses"]["rpn_box"] == 0
    assert all(value.isfinite().all() for value in weights_of(prepared.training).values() if value.is_floating_point())


def test_an_infinite_loss_stops_with_its_name_and_pictures(tmp_path):
    session = prepare(shape_data(3, 0), tmp_path / "run", tiny_config(batch=1), val_split="none").training.session
    session.trainer.objective = Spoiled(session.trainer.objective, at=3)
    with pytest.raises(TrainingError) as caught:
        session.run()
    order = [index for draws in session.train.sampler for index in (draw.index for draw in draws)]
    message = str(caught.value)
    assert message == (
        f"epoch 1, step 2: loss score is nan (pictures train{order[2]}); lower --lr, or look at these pictures"
    )
    assert read_metadata(session.folder.last)["progress"]["step"] == 0  # nothing after the beginning was saved


class Spoiled(nn.Module):
    """An objective one of whose losses is no number from some batch on."""

    def __init__(self, objective: nn.Module, at: int) -> None:
        super().__init__()
        self.objective, self.left = objective, at

    def forward(self, batch, targets: Targets):
        self.left -= 1
        losses = self.objective(batch, targets)
        return losses if self.left > 0 else losses | {"score": losses["score"] * math.nan}


@pytest.mark.parametrize("val_split", ["none", "val"])
def test_a_rate_far_too_high_stops_training_and_spares_what_was_saved(tmp_path, val_split):
    config = tiny_config(lr=1e30, batch=4, warmup=0)
    session = prepare(shape_data(4, 2), tmp_path / "run", config, val_split=val_split).training.session
    with pytest.raises(TrainingError, match=r"loss \w+ is (nan|inf).*lower --lr"):
        session.run()
    if val_split == "val":
        assert not session.folder.best.exists()


def test_training_by_the_public_function_gives_a_detector(tmp_path):
    options = {"backbone_weights": "none", "device": "cpu", "val_split": "none"}
    detector = api.train(shape_data(2, 0), tmp_path / "run", tiny_config(epochs=1), **options)
    (found,) = detector.predict(shape_sample("a").picture)
    assert found.class_names == tuple(COLOURS)
    assert list((tmp_path / "run" / "events").glob("events.out.tfevents.*"))


def test_the_journal_logs_a_line_a_split(tmp_path, caplog):
    row = {
        "stage": "joint",
        "epoch": 3,
        "step": 9,
        "split": "val",
        "loss": 0.5,
        "losses": {"score": 0.5},
        "AP": 0.25,
        "AP50": 0.5,
    }
    with caplog.at_level("INFO", "rcnn"):
        Journal(tmp_path).epoch_ended([row], best=True)
    (line,) = [record.message for record in caplog.records]
    assert line == "epoch 3 val    loss 0.500 (score 0.500)  AP 0.250  AP50 0.500  (best so far)"


def test_difficult_objects_teach_only_if_asked(tmp_path):
    pixels = shape_sample("a").picture
    box, flag = np.array([[10, 10, 40, 40]]), np.array([True])
    data = DataSet({"train": [Sample("a", pixels, box, ("disc",), difficult=flag)]}, ("disc",))
    losses = {}
    for wanted in (True, False):
        config = tiny_config(epochs=1, train_difficult=wanted)
        prepare(data, tmp_path / str(wanted), config, val_split="none").training.run()
        losses[wanted] = rows_of(tmp_path / str(wanted))[0]["losses"]
    assert losses[True]["box"] > 0
    assert losses[False]["box"] == 0


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_an_optimizers_state_lies_in_memory_as_its_parameters_when_it_goes_on(tmp_path, name):
    """Else the fused steps of GPUs refuse it: the file holds values alone, in one order."""
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    first, second = (make_optimizer(model, OptimizerSettings(name, 0.1, 0.9, 0.1)) for _ in range(2))
    model(torch.ones(1, 3, 5, 5)).sum().backward()
    first.step()
    write_tensors(tmp_path / "state", pack(model, first), {})
    unpack(read_tensors(tmp_path / "state")[0], model, second)
    states = [value for value in second.state[model.weight].values() if torch.is_tensor(value) and value.dim()]
    assert states
    assert all(value.stride() == model.weight.stride() for value in states)
    for own, other in zip(states, (v for v in first.state[model.weight].values() if v.dim()), strict=True):
        assert torch.equal(own, other)
